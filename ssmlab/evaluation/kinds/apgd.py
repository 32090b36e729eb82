"""APGD (Croce and Hein 2020) on the cross entropy or on the difference of logits ratio."""

from __future__ import annotations

from typing import Any

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.evaluation.library_attacks import APGD, Apgd, library_settings
from ssmlab.evaluation.victim import Victim
from ssmlab.params import ApgdParams


class ApgdKind(AttackKind[ApgdParams]):
    """torchattacks' APGD, as in AutoAttack."""

    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:  # noqa: ARG002
        settings = {**library_settings(ball, seed), **APGD}
        one = Apgd(victim, loss=self.spec.loss, n_restarts=self.spec.restarts, steps=self.spec.steps, **settings)
        return {"apgd": one}

    def passes(self, classes: int, phase: int, positions: int) -> float:  # noqa: ARG002
        return 3.0 * self.spec.steps * self.spec.restarts
