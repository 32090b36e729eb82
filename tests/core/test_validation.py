"""Errors about values from files have the same form everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from ssmlab.core.errors import UserError
from ssmlab.core.validation import first_problem, read_model


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    x: int
    y: int


def test_a_file_that_fits_is_read_as_the_model(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"x": 1, "y": 2}')
    assert read_model(tmp_path / "p.json", Point, "a point", "draw it") == Point(x=1, y=2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "not found (a point)"),
        ("{", "cannot be read as a point"),
        ("[" * 2000 + "]" * 2000, "nested too deep"),
        ('{"x": NaN, "y": 1}', "nan is not a finite number"),
        ("[]", "a mapping is needed (it is a list)"),
        ('{"x": 1}', "y: this key is missing"),
        ('{"x": 1, "y": 2, "z": 3}', "z: unknown key"),
        ('{"x": 1, "yy": 2}', "yy: unknown key; did you mean 'y'? (and 1 more)"),
        ('{"x": "\\u001b[2J", "y": 2}', r"x: a whole number is needed (it is '\x1b[2J')"),
        ('{"x": null, "y": 2}', "x: a whole number is needed (it is empty)"),
        ('{"x": [1], "y": 2}', "x: a whole number is needed (it is a list)"),
        (json.dumps({"x": "long" * 1000, "y": 2}), "..."),
        ('{"x": 1.5, "y": "2"}', "(and 1 more)"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_short_line(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "p.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_model(path, Point, "a point", "draw it")
    message = str(caught.value)
    assert reason in message
    assert message.startswith(str(path))
    assert message.endswith("; draw it")
    assert message.isprintable()
    assert len(message) < 400 + len(str(path))


def test_a_problem_is_worded_by_the_function_that_is_given() -> None:
    with pytest.raises(ValidationError) as caught:
        Point.model_validate({"x": 1})
    assert first_problem(caught.value, Point, lambda problem, text: f"{problem['type']}: {text}!") == (
        "missing: this key is missing!"
    )
