"""How durations, fractions, lists and foreign names are written."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmlab.core.text import duration, hint, listed, nearest, percent, printable


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (59.6, "1m00s"),
        (725, "12m05s"),
        (11250, "3h07m"),
        (187_200, "2d04h"),
        (1e9, "999d+"),
        (math.inf, "?"),
        (math.nan, "?"),
    ],
)
def test_a_duration_is_written_with_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@given(st.floats(min_value=0))
def test_a_duration_takes_at_most_six_characters(seconds: float) -> None:
    assert 0 < len(duration(seconds)) <= 6


def test_a_fraction_is_written_in_percent_with_one_decimal() -> None:
    assert (percent(0.8132), percent(1.0)) == ("81.3%", "100.0%")


@pytest.mark.parametrize(
    ("words", "text"), [([], "none"), (["a"], "a"), ([0, 1], "0 and 1"), (iter("abc"), "a, b and c")]
)
def test_a_list_ends_in_and(words: list[object], text: str) -> None:
    assert listed(words) == text


def test_a_list_of_choices_ends_in_or() -> None:
    assert listed(["a", "b", "c"], "or") == "a, b or c"


def test_control_sequences_are_escaped() -> None:
    assert printable("a\x1b]0;title\x07b\nc\udcff\u202e") == r"a\x1b]0;title\x07b c\udcff\u202e"
    assert printable("é 漢 \N{GRINNING FACE}") == "é 漢 \N{GRINNING FACE}"


@given(st.text(st.characters(exclude_categories=())), st.integers(min_value=20, max_value=100))
def test_a_printable_text_is_one_short_line_that_can_be_encoded(text: str, limit: int) -> None:
    line = printable(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    line.encode()


def test_a_long_text_keeps_both_ends() -> None:
    line = printable("begin" + "x" * 5000 + "end", 100)
    assert line.startswith("begin")
    assert line.endswith("end")


def test_the_nearest_name_is_suggested_and_a_long_list_is_cut() -> None:
    runs = ["ssm", "attention", *(f"grid-{number}" for number in range(300))]
    assert hint("atention", runs, "runs") == "did you mean 'attention'?"
    assert hint("zzz", runs, "runs") == "runs: ssm, attention, grid-0, grid-1, grid-2, grid-3, grid-4 and 295 more"
    assert hint("zzz", ["ssm", "ads"]) == "ssm and ads"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("atention", "attention"), ("ADS", "ads"), ("att", "attention"), ("ssm-g", None), ("zzz", None), ("", None)],
)
def test_the_nearest_name_is_similar_or_the_only_one_that_begins_so(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["ads", "attention", "ssm-gelu-standard-s0", "ssm-gelu-standard-s1"]) == meant
