"""Attacks by name, such as "pgd-10", for callers who write no specification."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ssmlab.core.errors import UserError
from ssmlab.core.text import nearest, printable
from ssmlab.evaluation.ball import pgd_alpha
from ssmlab.params import ATTACKS, ApgdParams, AttackBase, AttackSpec, PgdParams, TokenParams
from ssmlab.params.written_float import WrittenFloat

TOKEN_POSITIONS, TOKEN_STEPS = 5, 20  # settings of named token attacks
APGD: dict[str, Literal["ce", "dlr"]] = {"apgd-ce": "ce", "apgd-dlr": "dlr"}
COUNT = "[1-9][0-9]{0,5}"  # in a name


def parse_attack(name: str, eps: float) -> AttackSpec:
    """The specification of a named attack, on all images.

    Raises:
        UserError: no attack has this name.
    """
    everything: dict[str, Any] = {"images": "all", "checkpoints": ("best", "last")}
    text = name if isinstance(name, str) else ""
    entry = ATTACKS.get(text)
    if entry is not None and entry.usual is not None:
        return entry.params(kind=text, **entry.usual, **everything)
    if text in APGD:
        return ApgdParams(kind="apgd", loss=APGD[text], steps=100, restarts=1, **everything)
    if token := re.fullmatch(rf"token-(map-)?({COUNT})", text):
        positions: int | Literal["all"] = "all" if token[1] else TOKEN_POSITIONS
        return TokenParams(kind="token", patch=int(token[2]), positions=positions, steps=TOKEN_STEPS, **everything)
    match = re.fullmatch(rf"pgd-({COUNT})", text)
    if match is None:
        raise UserError(f"attacks: no attack is called '{printable(str(name))}'; {instead_of(text)}")
    steps = int(match[1])
    return PgdParams(
        kind="pgd", alpha=WrittenFloat(pgd_alpha(eps, steps)), steps=steps, random_start=True, **everything
    )


def instead_of(text: str) -> str:
    """What a wrong name of an attack should probably have been, or all that there are."""
    known = [*(kind for kind, each in ATTACKS.items() if each.usual is not None), *APGD]
    letters = text.rstrip("0123456789")
    number = text[len(letters) :]
    near = nearest(letters, ["pgd-", "token-", "token-map-"]) if number else nearest(text, [*known, "pgd-10"])
    if near is not None and near + number != text:
        return f"did you mean '{near}{number}'?"
    return f"use {', '.join(known)}, pgd-N (such as pgd-10), token-K or token-map-K (such as token-4)"


def chosen_attacks(attacks: Iterable[str] | Mapping[str, AttackSpec], eps: float) -> dict[str, AttackSpec]:
    """The specifications of the attacks, by name.

    Raises:
        UserError: one of them is not an attack.
    """
    if isinstance(attacks, Mapping):
        if wrong := [name for name, spec in attacks.items() if not isinstance(spec, AttackBase)]:
            raise UserError(
                f"attacks: {printable(str(wrong[0]))} must be a specification such as ssmlab.params.PgdParams"
            )
        return dict(attacks)
    names = [attacks] if isinstance(attacks, str) else attacks
    if not isinstance(names, Iterable):
        raise UserError(f"attacks must be names or specifications by name; it is {type(attacks).__name__}")
    return {name: parse_attack(name, eps) for name in names}
