from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.artifacts.history import (
    COLUMNS,
    HEADER,
    HistoryWriter,
    Row,
    format_row,
    parse_row,
    parse_rows,
    read_history,
    written_rows,
)
from ssmlab.core.errors import UserError
from ssmlab.project.history_reader import HistoryReader
from tests.unreadable import unreadable

number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(min_value=0, max_value=10**9)
maybe = st.none() | number
rows = st.builds(
    Row, count, count, number, number, maybe, number, number, number, number, maybe, maybe, st.none() | count
)


def row(epoch: int, train_robust: float | None = 0.5) -> Row:
    return Row(epoch, 55 * epoch, 2e-3, 0.731, train_robust, 0.91, 437 / 1300, 3.217, 1088.5)


def test_the_columns_of_a_history_are_the_documented_ones() -> None:
    documented = (
        "epoch,step,lr,train_loss,train_robust,val_clean,val_robust,seconds,images_per_second,"
        "val_robust_loss,train_eval_robust,epochs"
    )
    assert documented == HEADER
    assert documented.split(",") == list(COLUMNS)


def test_a_history_has_exactly_these_bytes(tmp_path: Path) -> None:
    writer = HistoryWriter(tmp_path / "history.csv")
    writer.append(Row(1, 55, 0.002, 2.25, None, 0.5, 0.25, 3.5, 1000.0, 2.5, 0.375, 10))
    writer.append(Row(2, 110, 0.001, 1.25, 0.375, 0.75, 0.5, 3.25, 1100.0))
    assert (tmp_path / "history.csv").read_text() == (
        HEADER + "\n1,55,0.002,2.25,,0.5,0.25,3.5,1000.0,2.5,0.375,10\n2,110,0.001,1.25,0.375,0.75,0.5,3.25,1100.0,,,\n"
    )


def test_a_history_of_version_0_1_0_is_read_and_lacks_the_newer_values(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    old = "epoch,step,lr,train_loss,train_robust,val_clean,val_robust,seconds,images_per_second\n"
    path.write_text(old + "1,55,0.002,2.25,,0.5,0.25,3.5,1000.0\n")
    expected = [Row(1, 55, 0.002, 2.25, None, 0.5, 0.25, 3.5, 1000.0)]
    assert read_history(path) == HistoryReader(path).poll() == expected
    assert (expected[0].val_robust_loss, expected[0].train_eval_robust, expected[0].epochs) == (None, None, None)


@settings(deadline=None, max_examples=25)
@given(rows)
def test_a_row_is_read_back_bit_by_bit(written: Row) -> None:
    assert parse_row(format_row(written)) == written


CELLS = (
    "",
    "1",
    "-0",
    "+1",
    "01",
    "1_0",
    " 1",
    "1.0",
    "1e999",
    "1e-320",
    "nan",
    "Infinity",
    "null",
    "true",
    '"1"',
    "[1]",
)
CELLS += ("1],[1", "1],[", "{}", "9" * 400, "1\r", "\u2028", "\x00", "\ufffd")


@settings(deadline=None, max_examples=300)
@given(st.lists(rows, min_size=1, max_size=3), st.data())
def test_lines_read_together_give_the_rows_that_each_gives_alone(written: list[Row], data: st.DataObject) -> None:
    lines = [format_row(each) for each in written]
    assert written_rows("".join(f"{line}\n" for line in lines)) == written
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        cells = lines[at].split(",")
        where = data.draw(st.integers(0, len(cells) - 1))
        cells[where : where + data.draw(st.integers(0, 1))] = [data.draw(st.sampled_from(CELLS))]
        lines[at] = ",".join(cells)
    text = "".join(f"{line}\n" for line in lines)
    together = parse_rows(text)
    alone = [row for line in text.splitlines() if (row := parse_row(line)) is not None]
    assert together == alone
    assert [[type(cell) for cell in row] for row in together] == [[type(cell) for cell in row] for row in alone]


def test_read_history_gives_what_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    expected = [row(1), row(2, None), row(3)]
    for each in expected:
        HistoryWriter(path).append(each)  # a new writer each time adds no second header
    assert read_history(path) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "ssmlab train"),
        ("", "not a training history"),
        ("epoch,loss\n1,2\n", "not a training history"),
        (HEADER + "\n" + format_row(row(1)) + "\n2,110,0.0", "line 3"),
        (HEADER + "\n" + format_row(row(1)).replace("0.91", "high") + "\n", "line 2"),
        (HEADER + "\n" + format_row(row(1)).replace("0.91", "nan") + "\n", "line 2"),
        (HEADER + "\n" + format_row(row(1)).replace("0.91", "-inf") + "\n", "line 2"),
        (HEADER + "\n" + format_row(row(10**400)) + "\n", "line 2"),
        (HEADER + "\n" + format_row(row(1)).removesuffix(",,,") + "\n", "line 2"),
    ],
)
def test_a_damaged_history_is_refused_in_one_line(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=says) as caught:
        read_history(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


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
    HistoryWriter(path).append(row(1))
    reader = HistoryReader(path)
    assert (reader.poll(), reader.problem) == ([row(1)], None)
    HistoryWriter(path).append(row(2))
    with unreadable(path):
        assert (reader.poll(), reader.rows) == ([], [row(1)])
        assert reader.problem == f"{path}: cannot be read (Input/output error)"
    assert (reader.poll(), reader.rows, reader.problem) == ([row(2)], [row(1), row(2)], None)
    path.unlink()
    assert (reader.poll(), reader.rows, reader.problem) == ([], [], None)


def test_a_reader_waits_for_a_missing_file(tmp_path: Path) -> None:
    reader = HistoryReader(tmp_path / "history.csv")
    assert reader.poll() == []
    HistoryWriter(tmp_path / "history.csv").append(row(1))
    assert reader.poll() == [row(1)]
    assert reader.poll() == []


@pytest.mark.parametrize("new", [[], [row(7)], [row(7), row(8)], [row(7), row(8), row(9)]])
def test_a_reader_starts_over_when_the_file_is_replaced(tmp_path: Path, new: list[Row]) -> None:
    """By a shorter file, by one of the same length, by a longer one, and by nothing."""
    path = tmp_path / "history.csv"
    for each in (row(1), row(2)):
        HistoryWriter(path).append(each)
    reader = HistoryReader(path)
    reader.poll()
    path.unlink()
    for each in new:
        HistoryWriter(path).append(each)
    assert reader.poll() == new
    assert reader.rows == new


def test_a_reader_ignores_half_a_line_that_a_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    HistoryWriter(path).append(row(1))
    with path.open("ab") as file:
        file.write(b"2,110,0.0\xff\n")
    HistoryWriter(path).append(row(3))
    assert HistoryReader(path).poll() == [row(1), row(3)]


def test_a_writer_names_the_file_that_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"history\.csv: cannot be written"):
        HistoryWriter(tmp_path / "absent" / "history.csv").append(row(1))


def test_a_full_disk_is_a_user_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(UserError, match="No space left"):
        HistoryWriter(full).append(row(1))


def test_a_missing_value_is_an_empty_field_and_is_read_back_as_none() -> None:
    line = format_row(row(4, None))
    assert line.split(",")[4] == ""
    back = parse_row(line)
    assert back is not None and back.train_robust is None
    assert math.isclose(sum(v for v in back if v is not None), sum(v or 0 for v in row(4, 0.0)))


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts read bytes with /proc")
def test_a_long_history_is_read_once_and_then_only_what_is_new(tmp_path: Path) -> None:
    def read_bytes() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    path = tmp_path / "history.csv"
    path.write_text(HEADER + "\n" + "".join(format_row(row(epoch)) + "\n" for epoch in range(1, 20_001)))
    reader = HistoryReader(path)
    assert len(reader.poll()) == 20_000
    HistoryWriter(path).append(row(20_001))
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
