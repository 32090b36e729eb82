"""The attack on one patch of an image (`ssmlab.evaluation.token_attack`)."""

from __future__ import annotations

from typing import Any

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.evaluation.token_attack import TokenAttack
from ssmlab.evaluation.victim import Victim
from ssmlab.params import TokenParams


class TokenKind(AttackKind[TokenParams]):
    """Our own attack, since torchattacks has none that stays in one patch."""

    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:  # noqa: ARG002
        patch, positions, steps = self.spec.patch, self.spec.positions, self.spec.steps
        return {"token": TokenAttack(victim, seed, ball=ball, patch=patch, positions=positions, steps=steps)}

    def passes(self, classes: int, phase: int, positions: int) -> float:  # noqa: ARG002
        attacked = positions if self.spec.positions == "all" else min(self.spec.positions, positions)
        return 3.0 + 2.0 * positions + 3.0 * self.spec.steps * attacked
