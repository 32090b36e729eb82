"""FMN (Pintor et al. 2021): the smallest distance at which an image is broken."""

from __future__ import annotations

from typing import Any

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.evaluation.own_attacks import Fmn
from ssmlab.evaluation.victim import Victim
from ssmlab.params import FmnParams


class FmnKind(AttackKind[FmnParams]):
    """Our own FMN, since torchattacks has none."""

    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:  # noqa: ARG002
        return {"fmn": Fmn(victim, ball=ball, steps=self.spec.steps)}

    def passes(self, classes: int, phase: int, positions: int) -> float:  # noqa: ARG002
        return 3.0 * (self.spec.steps + 1)
