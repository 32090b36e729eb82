"""One file for each kind of attack; `ssmlab.params.ATTACKS` is the table of their names."""

from __future__ import annotations

from typing import Any

from ssmlab.core.lookup import named_object
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.params import ATTACKS, AttackSpec


def attack_of(spec: AttackSpec) -> AttackKind[Any]:
    """The attack that a specification asks for."""
    made: AttackKind[Any] = named_object(f"{__name__}.{ATTACKS[spec.kind].where}")(spec)
    return made
