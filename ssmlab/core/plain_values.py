"""Values that a JSON file can hold. Whatever is read from a JSON or YAML file is checked to be such a value."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

DEEPEST = 64  # levels; our own files have 8
KeyPlace = tuple[Any, Any] | None  # where a value is: the place of the mapping or list that has it, and its key there
MOST_VALUES = 1_000_000  # with YAML's anchors, a small file can mean billions of values


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text; raises ValueError if it is not JSON, or if `check_plain` refuses it."""
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    check_plain(value)
    return value


def check_plain(value: Any) -> None:
    """Raise ValueError, worded for the author of the file, unless a JSON file could hold `value`.

    The message begins with the dotted key of the value that is wrong.

    Python's JSON reader accepts NaN and lone surrogates. YAML has dates, sets, values that contain themselves, and keys
    of every type. None of these can be written to our own files.
    """
    pending: list[tuple[Any, int, KeyPlace]] = [(value, 0, None)]
    seen = 0
    while pending:
        item, depth, place = pending.pop()
        seen += 1
        if depth > DEEPEST:
            raise ValueError("it is nested too deep, or contains itself")
        if seen > MOST_VALUES:
            raise ValueError("it has too many values")
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, (str, int, float, bool)) and key is not None:
                    raise ValueError(f"{before(place)}the key {key} is a {type(key).__name__}; put it in quotes")
            pending.extend((key, depth + 1, place) for key in item)
            pending.extend((below, depth + 1, (place, key)) for key, below in item.items())
        elif isinstance(item, (list, tuple)):
            pending.extend((below, depth + 1, (place, index)) for index, below in enumerate(item))
        elif problem := scalar_problem(item):
            raise ValueError(before(place) + problem)


def before(place: KeyPlace) -> str:
    """The dotted key at the start of a message; empty for the whole value."""
    keys: list[str] = []
    while place is not None:
        place, key = place
        keys.append(str(key))
    return f"{'.'.join(reversed(keys))}: " if keys else ""


def scalar_problem(item: Any) -> str:
    """Why `item` is not text that can be encoded, a finite number, true, false or null; empty if it is."""
    if isinstance(item, str):
        try:
            item.encode()
        except UnicodeEncodeError:
            return f"{item!r} is not valid Unicode text"
    elif isinstance(item, float):
        return "" if math.isfinite(item) else f"{item} is not a finite number"
    elif isinstance(item, int):
        return "the whole number is too large (more than 64 bits)" if item.bit_length() > 64 else ""
    elif item is not None:
        return f"{item} is a {type(item).__name__}; put it in quotes to make it text"
    return ""


def value_at(value: Any, keys: Iterable[str]) -> Any:
    """The value that a nested mapping has at a path of keys; None if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def dotted_leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested mapping by dotted key: {"a": {"b": 1}} gives ("a.b", 1). A list or {} is one value."""
    for key, below in value.items():
        if isinstance(below, Mapping) and below:
            yield from dotted_leaves(below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", below
