"""The table of all kinds of judging attacks, and the type of any attack's settings in params.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ssmlab.params.attack_settings import (
    ApgdParams,
    AttackBase,
    AutoAttackParams,
    FgsmParams,
    FmnParams,
    PgdParams,
    ScreenedAutoAttackParams,
    SquareParams,
    TokenParams,
)


@dataclass(frozen=True, slots=True)
class AttackEntry:
    """A kind of attack in the table of attacks.

    Attributes:
        where: `MODULE:NAME` below ssmlab.evaluation.kinds, of a subclass of `AttackKind` (base.py there).
        params: the class of its settings; `AttackBase` if it has none of its own.
        usual: the settings that it gets if a user gives only its name; None if the name must contain a number, such as
            `pgd-10` (`ssmlab.evaluation.attack_names`).
        gradients: whether it uses gradients, so that an attack without gradients should not break more images.
        ranked: whether a ranked kind further down the table should break every image that it breaks.
        transferable: whether it returns a changed image even where it fails, which `ssmlab transfer` needs.
    """

    where: str
    params: type[AttackBase] = AttackBase
    usual: Mapping[str, Any] | None = field(default_factory=dict)
    gradients: bool = False
    ranked: bool = False
    transferable: bool = False


STANDARD = {"steps": 100, "queries": 5000}

# All kinds of attacks, from the weakest to the strongest, the order in which tables show them. A new one is a file in
# ssmlab/evaluation/kinds/ and a line here. If it has settings of its own, they are a class in attack_settings.py, which
# the line names.
ATTACKS: dict[str, AttackEntry] = {
    "token": AttackEntry("token:TokenKind", TokenParams, usual=None),
    "fgsm": AttackEntry("fgsm:FgsmKind", FgsmParams, gradients=True, ranked=True, transferable=True),
    "square": AttackEntry("square:SquareKind", SquareParams, {"queries": 5000}),
    "fmn": AttackEntry("fmn:FmnKind", FmnParams, {"steps": 100}, gradients=True),
    "pgd": AttackEntry("pgd:PgdKind", PgdParams, usual=None, gradients=True, ranked=True, transferable=True),
    "apgd": AttackEntry("apgd:ApgdKind", ApgdParams, usual=None, gradients=True, ranked=True),
    "screened-autoattack": AttackEntry(
        "autoattack:ScreenedAutoAttackKind", ScreenedAutoAttackParams, STANDARD, gradients=True, ranked=True
    ),
    "autoattack": AttackEntry("autoattack:AutoAttackKind", AutoAttackParams, STANDARD, gradients=True, ranked=True),
}


@dataclass(frozen=True, slots=True)
class OfItsKind:
    """The pydantic type of the settings of any attack: the class that the table gives for its `kind`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {
            kind: handler.generate_schema(
                Annotated[AttackBase, OnlyKind(kind)] if entry.params is AttackBase else entry.params
            )
            for kind, entry in ATTACKS.items()
        }
        return core_schema.tagged_union_schema(choices, discriminator="kind")


@dataclass(frozen=True, slots=True)
class OnlyKind:
    """In the JSON schema, an `AttackBase` of one kind; otherwise it would also describe the kinds with settings."""

    kind: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = dict(handler.resolve_ref_schema(handler(schema)))
        constant = {"const": self.kind, "title": "Kind", "type": "string"}
        return {**found, "title": self.kind, "properties": {**found["properties"], "kind": constant}}


AttackSpec = Annotated[AttackBase, OfItsKind()]
