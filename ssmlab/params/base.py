"""The building blocks of all sections of params.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ssmlab.core.files import sha256_text
from ssmlab.core.json_text import canonical_json
from ssmlab.params.written_float import WrittenFloat

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")  # longer ones do not fit into the names of files
IMPORTED = "imported"  # the study of imported checkpoints: models/imported/NAME, results/imported/attack/NAME.json
RUN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")  # no dot: DVC's `train@RUN` and `${runs.RUN}` split names there
NOT_TEXT = re.compile(r"true|false|null|[0-9][0-9_]*(e[+-]?[0-9]+)?|0[xo][0-9a-f]+")  # in YAML, not text


def shown_text(value: str) -> str:
    """The pydantic check of a text that is printed: line ends are allowed, characters that are not shown are not."""
    hidden = next((letter for letter in value if not letter.isprintable() and letter not in "\n\t"), None)
    if hidden is not None:
        raise ValueError(f"has a character that is not shown, {hidden.encode('unicode_escape').decode()}; remove it")
    return value


def not_negative(value: WrittenFloat) -> WrittenFloat:
    """The pydantic check of a radius or a step size."""
    if value < 0:
        raise ValueError("must not be negative")
    return value


def at_most_one(value: WrittenFloat) -> WrittenFloat:
    """The pydantic check of an L-inf radius or step: pixels are in [0, 1], so a larger number probably means 0..255."""
    if value > 1:
        meant = "" if "/" in value.text else f"; {value} of 255 is written {value}/255"
        raise ValueError(f"must be at most 1, because pixels are in [0, 1]{meant}")
    return value


def some_or_all(of: str) -> Callable[[Any], Any]:
    """The pydantic check of a number `of` things."""

    def check(value: Any) -> Any:
        if value != "all" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"must be a number of {of}, at least 1, or all")
        return value

    return check


@dataclass(frozen=True, slots=True)
class KeyOf:
    """The pydantic check of a text that must be a key of `table`; like `Literal`, but with the names of a table."""

    table: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.table))


ImageCount = Annotated[int | Literal["all"], BeforeValidator(some_or_all("images"))]
PositionCount = Annotated[int | Literal["all"], BeforeValidator(some_or_all("positions"))]
ShownText = Annotated[str, AfterValidator(shown_text)]
Epsilon = Annotated[WrittenFloat, AfterValidator(not_negative)]
Positive = Annotated[int, Field(ge=1, le=10**9)]  # larger than any size; beyond it, other code would fail
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Device = Literal["auto", "cpu", "cuda"]
Which = Literal["best", "last"]
Norm = Literal["linf", "l2"]
NORM_NAMES: dict[Norm, str] = {"linf": "L-inf", "l2": "L2"}  # as reports and papers write them


class Strict(BaseModel):
    """A section in which unknown keys, missing keys and wrong types are errors; its values cannot be changed later."""

    # A model is built when it is first used: most commands use few of them.
    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def plain(self) -> dict[str, Any]:
        """The JSON value of this section, for checkpoints and results; it can be validated again."""
        return self.model_dump(mode="json", exclude_none=True)

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of this section: equal settings have equal fingerprints."""
        return sha256_text(canonical_json(self.plain()))


def check_own_sections(model: Strict, key: str, table: Iterable[str]) -> None:
    """Check the sections that have the name of an entry of `table`: only that of the chosen entry may exist.

    Args:
        key: the field of `model` that contains the chosen name.

    Raises:
        ValueError: a section is missing or superfluous; pydantic turns this into an error of the file.
    """
    for name in table:
        is_chosen = getattr(model, key) == name
        if name in type(model).model_fields and is_chosen != (getattr(model, name) is not None):
            raise ValueError(f"a section `{name}` is needed if `{key}` is {name}, and not allowed otherwise")
