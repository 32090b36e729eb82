"""JSON values as text: the value and nothing else, the same bytes for equal values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.json_text import canonical_json, readable_json

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4),
    max_leaves=12,
)


def turned_round(value: object) -> object:
    """The same JSON value with the keys of every mapping in the opposite order."""
    if isinstance(value, dict):
        return {key: turned_round(value[key]) for key in reversed(value)}
    return [turned_round(each) for each in value] if isinstance(value, list) else value


@settings(deadline=None, max_examples=25)
@given(json_values)
def test_json_texts_hold_the_value_and_nothing_else(value: object) -> None:
    for text in (canonical_json(value), readable_json(value)):
        assert json.loads(text) == value
    assert canonical_json(value) == canonical_json(turned_round(value))
    assert readable_json(value) == readable_json(turned_round(value))
    assert canonical_json(json.loads(readable_json(value))) == canonical_json(value)


def test_canonical_json_has_sorted_keys_and_no_spaces() -> None:
    assert (
        canonical_json({"b": [1, 2.5, None], "a": {"é": True, "": "x y"}})
        == '{"a":{"":"x y","é":true},"b":[1,2.5,null]}'
    )
    assert readable_json({"b": 1, "a": []}) == '{\n "a": [],\n "b": 1\n}\n'


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_with_nan_is_refused(number: float) -> None:
    for write in (canonical_json, readable_json):
        with pytest.raises(ValueError, match="JSON compliant"):
            write({"x": [number]})
