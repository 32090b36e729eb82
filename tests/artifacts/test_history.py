from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.artifacts.history import (
    COLUMNS,
    HEADER,
    Row,
    append_row,
    format_row,
    parse_row,
    parse_rows,
    read_history,
    written_rows,
)
from ssmlab.core.errors import UserError
from ssmlab.project.history_reader import HistoryReader

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
    history = tmp_path / "history.csv"
    append_row(history, Row(1, 55, 0.002, 2.25, None, 0.5, 0.25, 3.5, 1000.0, 2.5, 0.375, 10))
    append_row(history, Row(2, 110, 0.001, 1.25, 0.375, 0.75, 0.5, 3.25, 1100.0))
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
        append_row(path, each)  # a new writer each time adds no second header
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


def test_a_writer_names_the_file_that_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"history\.csv: cannot be written"):
        append_row(tmp_path / "absent" / "history.csv", row(1))


def test_a_full_disk_is_a_user_error() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(UserError, match="No space left"):
        append_row(full, row(1))


def test_a_missing_value_is_an_empty_field_and_is_read_back_as_none() -> None:
    line = format_row(row(4, None))
    assert line.split(",")[4] == ""
    back = parse_row(line)
    assert back is not None and back.train_robust is None
    assert math.isclose(sum(v for v in back if v is not None), sum(v or 0 for v in row(4, 0.0)))
