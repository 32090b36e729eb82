"""A reader of a growing history.csv gives every row once, and starts over if the file was replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.artifacts.history import HEADER, Row, append_row, format_history, format_row
from ssmlab.project.history_reader import HistoryReader
from tests.artifacts.test_history import row, rows
from tests.unreadable import unreadable


@settings(deadline=None, max_examples=25)
@given(st.lists(rows, max_size=5), st.data())
def test_a_reader_never_yields_half_a_line(tmp_path_factory: pytest.TempPathFactory, written: list[Row], data) -> None:
    """For any split of the bytes, the polls together give every row exactly once, and never an incomplete row."""
    path = tmp_path_factory.mktemp("history") / "history.csv"
    content = (HEADER + "\n" + "".join(format_row(each) + "\n" for each in written)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    reader, got = HistoryReader(path), []
    for cut in [*cuts, len(content)]:
        path.write_bytes(content[:cut])
        got += reader.poll()
        assert len(got) == max(0, content[:cut].count(b"\n") - 1)
    assert got == written == reader.rows


def test_a_reader_keeps_its_rows_while_the_disk_does_not_give_the_file(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    append_row(path, row(1))
    reader = HistoryReader(path)
    assert (reader.poll(), reader.problem) == ([row(1)], None)
    append_row(path, row(2))
    with unreadable(path):
        assert (reader.poll(), reader.rows) == ([], [row(1)])
        assert reader.problem == f"{path}: cannot be read (Input/output error)"
    assert (reader.poll(), reader.rows, reader.problem) == ([row(2)], [row(1), row(2)], None)
    path.unlink()
    assert (reader.poll(), reader.rows, reader.problem) == ([], [], None)


def test_a_reader_waits_for_a_missing_file(tmp_path: Path) -> None:
    reader = HistoryReader(tmp_path / "history.csv")
    assert reader.poll() == []
    append_row(tmp_path / "history.csv", row(1))
    assert reader.poll() == [row(1)]
    assert reader.poll() == []


@pytest.mark.parametrize("new", [[], [row(7)], [row(7), row(8)], [row(7), row(8), row(9)]])
def test_a_reader_starts_over_when_the_file_is_replaced(tmp_path: Path, new: list[Row]) -> None:
    """By a shorter file, by one of the same length, by a longer one, and by nothing."""
    path = tmp_path / "history.csv"
    for each in (row(1), row(2)):
        append_row(path, each)
    reader = HistoryReader(path)
    reader.poll()
    path.unlink()
    for each in new:
        append_row(path, each)
    assert reader.poll() == new
    assert reader.rows == new


def test_a_reader_ignores_half_a_line_that_a_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    append_row(path, row(1))
    with path.open("ab") as file:
        file.write(b"2,110,0.0\xff\n")
    append_row(path, row(3))
    assert HistoryReader(path).poll() == [row(1), row(3)]


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts read bytes with /proc")
def test_a_long_history_is_read_once_and_then_only_what_is_new(tmp_path: Path) -> None:
    def read_bytes() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    path = tmp_path / "history.csv"
    path.write_text(HEADER + "\n" + "".join(format_row(row(epoch)) + "\n" for epoch in range(1, 20_001)))
    reader = HistoryReader(path)
    assert len(reader.poll()) == 20_000
    append_row(path, row(20_001))
    before = read_bytes()
    assert reader.poll() == [row(20_001)]
    assert read_bytes() - before < 20_000 < path.stat().st_size / 50
    assert len(reader.rows) == 20_001


def test_a_replacement_of_the_same_length_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(HEADER + "\n" + "".join(format_row(row(epoch)) + "\n" for epoch in range(1001, 2001)))
    reader = HistoryReader(path)
    reader.poll()
    text = path.read_text().replace(f"\n{format_row(row(1500))}\n", f"\n{format_row(row(1499))}\n")
    assert len(text) == path.stat().st_size
    path.write_text(text)
    os.utime(path, ns=(0, 10**18))
    reader.poll()
    assert [each.epoch for each in reader.rows].count(1499) == 2


def test_a_longer_file_that_was_written_again_in_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    """It begins with the same bytes, more than the reader compares, and differs at the end of what was read."""
    path, first = tmp_path / "history.csv", [row(epoch) for epoch in range(1, 301)]
    path.write_text(format_history(first))
    reader = HistoryReader(path)
    reader.poll()
    again = [*first[:-1], row(999), row(1000)]
    path.write_text(format_history(again))
    assert reader.poll() == again == reader.rows
