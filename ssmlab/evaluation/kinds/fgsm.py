"""FGSM (Goodfellow et al. 2015), and its form in L2."""

from __future__ import annotations

from typing import Any

import torchattacks

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.evaluation.losses import cross_entropy
from ssmlab.evaluation.own_attacks import LossPgd
from ssmlab.evaluation.victim import Victim
from ssmlab.params import FgsmParams


class FgsmKind(AttackKind[FgsmParams]):
    """torchattacks' FGSM; in L2 the fast gradient method, one step of length eps along the gradient."""

    noted_steps = 1

    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:  # noqa: ARG002
        if ball.norm == "linf":
            return {"fgsm": torchattacks.FGSM(victim, eps=ball.eps)}
        one_step = LossPgd(victim, seed, cross_entropy, ball=ball, alpha=ball.eps, steps=1, random_start=False)
        return {"fgsm": one_step}
