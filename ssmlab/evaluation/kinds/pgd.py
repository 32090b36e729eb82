"""PGD (Madry et al. 2018) on the cross entropy or on the margin."""

from __future__ import annotations

from typing import Any

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.evaluation.library_attacks import Pgd
from ssmlab.evaluation.losses import cross_entropy, negative_margin
from ssmlab.evaluation.own_attacks import LossPgd, Restarts
from ssmlab.evaluation.victim import Victim
from ssmlab.params import PgdParams


class PgdKind(AttackKind[PgdParams]):
    """torchattacks' PGD, or our own PGD on the margin and in L2; from one start or from several."""

    def __init__(self, spec: PgdParams) -> None:
        super().__init__(spec)
        self.noted_steps = spec.steps

    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:  # noqa: ARG002
        spec = self.spec
        once: Any
        settings: dict[str, Any] = {"alpha": float(spec.alpha), "steps": spec.steps, "random_start": spec.random_start}
        if spec.loss or ball.norm == "l2":
            once = LossPgd(victim, seed, negative_margin if spec.loss else cross_entropy, ball=ball, **settings)
        else:
            once = Pgd(victim, seed, eps=ball.eps, **settings)
        return {"pgd": once if spec.restarts is None else Restarts(once, victim, spec.restarts)}

    def passes(self, classes: int, phase: int, positions: int) -> float:  # noqa: ARG002
        return 3.0 * self.spec.steps * (self.spec.restarts or 1)
