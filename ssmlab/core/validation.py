"""How pydantic's errors are worded for users, everywhere; and how a JSON file is read as a pydantic model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from ssmlab.core.errors import UserError
from ssmlab.core.files import read_json
from ssmlab.core.text import nearest, printable

Model = TypeVar("Model", bound=BaseModel)
LONGEST_VALUE = 60  # characters
NAMES = re.compile(r"'([^']*)'")  # the names in a text of pydantic: "'s4', 's4d' or 'mega'"
UNKNOWN_KEY = ("extra_forbidden", "invalid_key")  # a key that is no text is not known either
WORDS = {  # for problems that pydantic words for programmers
    "model_type": "a mapping is needed",
    "model_attributes_type": "a mapping is needed",
    "dict_type": "a mapping is needed",
    "list_type": "a list is needed",
    "tuple_type": "a list is needed",
    "string_type": "text is needed",
    "int_type": "a whole number is needed",
    "int_from_float": "a whole number is needed",
    "float_type": "a number is needed",
    "bool_type": "true or false is needed",
    "too_short": "at least one entry is needed",
    "string_too_short": "must not be empty",
}


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
        raise UserError(f"{path}: not {what} ({first_problem(error, model)}); {remedy}") from None


def first_problem(
    error: ValidationError, model: type[BaseModel], describe: Callable[[ErrorDetails, str], str] | None = None
) -> str:
    """The first thing that is wrong, as `key: what is needed (it is ...)`, and how many more problems.

    Unknown keys come first, because a misspelt key is also missing.

    Args:
        model: the model that the value does not fit, whose keys are suggested for a misspelt one.
        describe: adds the key to the text of a problem; the default is the key where pydantic found it.
    """
    problems = sorted(error.errors(), key=lambda problem: problem["type"] not in UNKNOWN_KEY)
    texts = ((problem, problem_text(problem, model)) for problem in problems)
    lines = list(dict.fromkeys((describe or described_problem)(problem, text) for problem, text in texts))
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def described_problem(problem: ErrorDetails, text: str) -> str:
    """One problem at the key where pydantic found it."""
    return at_key([str(part) for part in problem["loc"]], text)


def at_key(path: list[str], text: str) -> str:
    """`train.epochs: must be a number`; the text alone if `path` is empty."""
    return f"{printable('.'.join(path), 4 * LONGEST_VALUE)}: {text}" if path else text


def problem_text(problem: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong, without the key; for a misspelt name, with the one that was probably meant."""
    kind, value, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind in UNKNOWN_KEY:
        *place, name = problem["loc"]
        near = nearest(str(name), schema_at(model, place).get("fields", {}))
        return f"unknown key; did you mean '{near}'?" if near else "unknown key; remove it or correct its spelling"
    if kind == "missing":
        return "this key is missing"
    if kind.startswith("union_tag"):
        names = list(schema_at(model, problem["loc"])["choices"])
        text = f"must be one of {', '.join(names)}"
        return text + shown_value(value.get(context["discriminator"].strip("'")), kind, names)
    text = WORDS.get(kind) or problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    names = NAMES.findall(context["expected"]) if kind == "literal_error" else []
    return printable(text) + ("" if kind == "json_invalid" else shown_value(value, kind, names))


def shown_value(value: Any, kind: str, names: Sequence[str]) -> str:
    """` (it is 'meega'; did you mean 'mega'?)`: the value that was refused; empty for a section with a problem inside.

    `names` are those that it could be.
    """
    if isinstance(value, (str, int, float)):
        near = nearest(value, names) if isinstance(value, str) else None
        return f" (it is {printable(repr(value), LONGEST_VALUE)}{f'; did you mean {near!r}?' if near else ''})"
    if value is None:
        return " (it is empty)"
    if kind == "too_short" or (kind == "value_error" and isinstance(value, Mapping)):
        return ""
    return f" (it is a {'mapping' if isinstance(value, Mapping) else 'list'})"


def schema_at(model: type[BaseModel], place: Sequence[str | int]) -> Any:
    """Pydantic's schema of a value of `model` at `place`: `fields` has its keys, `choices` the tags of a union.

    `place` is that of an error of pydantic, so it contains the tags of unions.
    """
    schema = TypeAdapter(model).core_schema
    shared = {each["ref"]: each for each in schema.get("definitions", [])}
    here = described(schema, shared)
    for part in place:
        items = here.get("items_schema", {})
        inside = {**here.get("fields", {}), **here.get("choices", {})}.get(part) or here.get("values_schema")
        here = described(inside or (items[0] if isinstance(items, list) else items), shared)
    return here


def described(schema: Any, shared: Mapping[str, Any]) -> Any:
    """The part of a schema of pydantic that describes the value itself, inside its defaults and checks."""
    while "schema_ref" in schema or isinstance(schema.get("schema"), dict):
        schema = shared[schema["schema_ref"]] if "schema_ref" in schema else schema["schema"]
    return schema
