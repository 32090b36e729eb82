"""Square (Andriushchenko et al. 2020), which asks for logits only."""

from __future__ import annotations

from typing import Any

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.evaluation.library_attacks import SQUARE, Square, library_settings
from ssmlab.evaluation.victim import Victim
from ssmlab.params import SquareParams


class SquareKind(AttackKind[SquareParams]):
    """torchattacks' Square, as in AutoAttack."""

    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:  # noqa: ARG002
        return {"square": Square(victim, n_queries=self.spec.queries, **SQUARE, **library_settings(ball, seed))}

    def passes(self, classes: int, phase: int, positions: int) -> float:  # noqa: ARG002
        return 1.1 * self.spec.queries
