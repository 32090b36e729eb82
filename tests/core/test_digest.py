"""Sealed JSON: every change of a file is found, and nothing else is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.digest import check, read_sealed_json, seal, sealed_json
from ssmlab.core.errors import UserError

DOCUMENT = {
    "name": "ads é",
    "accuracy": 0.30000000000000004,  # 17 digits: other texts have the same value
    "lr": 1e-05,
    "flags": "10110",
    "nested": {"n": 5, "none": None, "list": [1, 2.5, "x"]},
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=4))
@settings(deadline=None, max_examples=50)
def test_what_was_sealed_is_read_back_without_the_digest(document: dict[str, object]) -> None:
    content = {key: value for key, value in document.items() if key != "digest"}
    assert check(seal(document)) == content
    assert seal(seal(document)) == seal(document)


def test_the_order_of_keys_does_not_change_the_digest() -> None:
    assert seal({"a": 1, "b": {"c": 2, "d": 3}}) == seal({"b": {"d": 3, "c": 2}, "a": 1})


def test_every_single_bit_flip_in_a_sealed_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "sealed.json"
    good = sealed_json(DOCUMENT).encode()
    path.write_bytes(good)
    assert read_sealed_json(path, "a document", "make it again") == DOCUMENT
    for position in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="make it again"):
            read_sealed_json(path, "a document", "make it again")


def test_a_changed_value_with_its_digest_left_alone_is_refused() -> None:
    sealed = seal(DOCUMENT)
    rng = random.Random(0)
    for key in DOCUMENT:
        with pytest.raises(ValueError, match="does not match its digest"):
            check({**sealed, key: rng.random()})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "no digest"),
        ("[1]", "not a JSON object"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "recursion"),
        ('{"a": NaN, "digest": ""}', "not JSON compliant"),
        (sealed_json({"a": 1}).replace("\n", ""), "text differs from what ssmlab writes"),
    ],
)
def test_what_is_not_a_sealed_file_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "sealed.json"
    path.write_text(text)
    with pytest.raises(
        UserError, match=rf"(?i)sealed.json: cannot be read as a document \(.*{reason}.*; again"
    ) as raised:
        read_sealed_json(path, "a document", "again")
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.json: not found \(attack results\); run `ssmlab attack ads`"):
        read_sealed_json(tmp_path / "gone.json", "attack results", "run `ssmlab attack ads`")
