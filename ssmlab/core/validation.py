"""How pydantic's errors are worded for users, everywhere; and how a JSON file is read as a pydantic model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ssmlab.core.errors import UserError
from ssmlab.core.files import read_json
from ssmlab.core.text import printable

Model = TypeVar("Model", bound=BaseModel)
LONGEST_VALUE = 60  # characters


def read_model(path: Path, model: type[Model], what: str, remedy: str) -> Model:
    """The JSON file at `path` as a `model`.

    Args:
        what: what the file should be, for the error ("attack results").
        remedy: what to do if it is not ("run `ssmlab attack ads`").

    Raises:
        UserError: the file is missing, is not JSON, or does not fit the model.
    """
    return as_model(read_json(path, what, remedy), path, model, what, remedy)


def as_model(value: Any, path: Path, model: type[Model], what: str, remedy: str) -> Model:
    """`value`, which was read from `path`, as a `model`; raises UserError as `read_model` does if it does not fit."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{path}: not {what} ({first_problem(error)}); {remedy}") from None


def first_problem(error: ValidationError, describe: Callable[[ErrorDetails], str] | None = None) -> str:
    """The first thing that is wrong, as `key: what is needed (it is ...)`, and how many more problems.

    Unknown keys come first, because a misspelt key is also missing. `describe` words one problem; the default is
    `described_problem`.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    lines = list(dict.fromkeys((describe or described_problem)(problem) for problem in problems))
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def described_problem(problem: ErrorDetails) -> str:
    """One problem at the key where pydantic found it."""
    return at_key([str(part) for part in problem["loc"]], problem_text(problem))


def at_key(path: list[str], text: str) -> str:
    """`train.epochs: must be a number`; the text alone if `path` is empty."""
    return f"{printable('.'.join(path), 4 * LONGEST_VALUE)}: {text}" if path else text


def problem_text(problem: ErrorDetails) -> str:
    """What is wrong, without the key."""
    kind = problem["type"]
    if kind == "extra_forbidden":
        return "unknown key; remove it or correct its spelling"
    if kind == "missing":
        return "this key is missing"
    if kind in ("model_type", "dict_type"):
        return "a mapping is needed"
    text = printable(problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be"))
    if isinstance(problem["input"], (str, int, float)) and kind != "json_invalid":
        text += f" (it is {printable(repr(problem['input']), LONGEST_VALUE)})"
    return text
