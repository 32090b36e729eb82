"""At every width of a terminal a table shows all of its numbers, and no line is wider than the terminal."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from ssmlab.report.table import Column, TextTable
from ssmlab.report.terminal.fitted_table import shorten_words, to_rich

NUMBER = re.compile(r"[+-]?\d[\d.,/%]*")


def lines_of(table: TextTable, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(to_rich(table))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def numbers(text: str) -> list[str]:
    return sorted(NUMBER.findall(text))


@st.composite
def tables(draw: st.DrawFn) -> TextTable:
    """Tables like those of `compare`: words without digits, accuracies, deviations, deltas with a judgement."""
    name = st.text("abcdef-", min_size=1, max_size=24)
    accuracy = st.builds("{:.1f}%".format, st.floats(0, 100))
    spread = st.builds("{:.1f}% ± {:.1f}".format, st.floats(0, 100), st.floats(0, 20))
    count = st.builds("{:,}".format, st.integers(0, 99_999_999))
    delta = st.builds("{:+.1f} {}".format, st.floats(-99, 99), st.sampled_from(["better", "too few seeds"]))
    exact = st.just("0.03137254901960784")
    columns, kinds = [Column("measure", left=True)], [name]
    for _ in range(draw(st.integers(1, 5))):
        columns.append(Column(draw(name)))
        kinds.append(draw(st.sampled_from([accuracy, spread, count, exact])))
        if draw(st.booleans()):
            columns.append(Column(f"against {draw(name)}", left=True, beside=True))
            kinds.append(delta)
    rows = draw(st.lists(st.tuples(*kinds), min_size=1, max_size=4))
    return TextTable(tuple(columns), tuple(rows))


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(20, 200))
def test_no_number_is_ever_cut_and_no_line_too_wide(table: TextTable, width: int) -> None:
    lines = lines_of(table, width)
    assert max(map(len, lines)) <= width
    assert numbers("\n".join(lines)) == numbers("\n".join(cell for row in table.rows for cell in row))


def test_five_runs_at_80_columns_become_tables_below_each_other() -> None:
    names = ["ssm", "ssm-gelu", "attention", "ads", "ssm-standard"]
    columns = [Column("measure", left=True), Column(names[0])]
    row = ["pgd-10, best", "74.1%"]
    for name in names[1:]:
        columns += [Column(name), Column("against ssm", left=True, beside=True)]
        row += ["86.7%", "+12.6 better"]
    lines = lines_of(TextTable(tuple(columns), (tuple(row),)), 80)
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)
    found = [line for line in lines if "86.7%" in line]
    assert len(found) == 2
    assert all(line.count("86.7%") == line.count("+12.6") for line in found)
    assert all(line.split()[0] == "pgd-10," for line in found)


def test_a_table_that_fits_the_width_stays_one_table() -> None:
    table = TextTable((Column("run", left=True), Column("clean")), (("a", "81.3%"), ("b", "79.0%")))
    assert [line.split() for line in lines_of(table, 80)] == [
        [],
        ["run", "clean"],
        ["─────────────"],
        ["a", "81.3%"],
        ["b", "79.0%"],
        [],
    ]


@pytest.mark.parametrize("width", [3, 5, 8, 9, 10])
def test_a_long_name_keeps_the_end_that_tells_it_apart(width: int) -> None:
    short = shorten_words("ads-pgd-s0", width)
    assert len(short) == width
    assert short.endswith("0")
    assert ("…" in short) == (width < 10)
