"""JSON and YAML files may contain only values that can be written to JSON again."""

from __future__ import annotations

import json
import math
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmlab.core.plain_values import DEEPEST, check_plain, parse_json

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
)
loop: list[Any] = []
loop.append(loop)
laughs: list[Any] = ["ha"]
for _ in range(40):
    laughs = [laughs, laughs]


@given(plain)
def test_every_value_that_json_can_hold_is_plain_and_comes_back(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": [math.nan]}, "finite"),
        (-math.inf, "finite"),
        ("\ud800", "Unicode"),
        ({"\ud800": 1}, "Unicode"),
        ({(1, 2): 1}, "key"),
        (date(2024, 1, 1), "2024-01-01 is a date; put it in quotes"),
        (b"bytes", "bytes"),
        (10**30, "64 bits"),
        (loop, "contains itself"),
        (laughs, "too many values"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
def test_what_json_cannot_hold_is_refused_with_its_reason(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_plain(value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": {"b": [1, {"c": NaN}]}}', "a.b.1.c: nan is not a finite number"),
        ('{"a": [0, 1e999]}', "a.1: inf is not a finite number"),
        ('{"a": {"b": 100000000000000000000}}', "a.b: the whole number is too large"),
        ("NaN", "nan is not"),
    ],
)
def test_the_message_names_the_key_of_what_json_cannot_hold(text: str, place: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_json(text)
    assert str(caught.value).startswith(place)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "1e999", '"\\ud800"', "[" * 2000 + "]" * 2000, "[" * 10**6, "{"])
def test_json_that_python_reads_beyond_the_standard_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_values_may_be_nested_as_deep_as_the_limit() -> None:
    parse_json("[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2))
