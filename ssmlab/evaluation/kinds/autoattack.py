"""AutoAttack (Croce and Hein 2020), whole and screened."""

from __future__ import annotations

from typing import Any, TypeVar

import torchattacks

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.evaluation.library_attacks import APGD, SQUARE, Apgd, ApgdT, Square, library_settings
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AutoAttackParams, ScreenedAutoAttackParams

MOST_TARGETS = 9  # target classes of standard AutoAttack
PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")
SCREEN_STEPS = 20  # steps of PGD on the margin, which ranks the survivors in screened AutoAttack
FAB: dict[str, Any] = {"alpha_max": 0.1, "eta": 1.05, "beta": 0.9}

Ensemble = TypeVar("Ensemble", AutoAttackParams, ScreenedAutoAttackParams)


class EnsembleKind(AttackKind[Ensemble]):
    """The standard ensemble: APGD on the cross entropy, targeted APGD and targeted FAB with 9 targets, and Square.

    There are fewer targets if there are fewer wrong classes, and Square runs without its rescaled schedule.
    `torchattacks.AutoAttack` has the same parts with other settings: 10 steps, and Square with the rescaled schedule.
    FAB with one restart uses no random numbers. At least 4 classes are needed: see `ssmlab.evaluation.plan`.
    """

    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:
        common = library_settings(ball, seed)
        others = min(MOST_TARGETS, classes - 1) + 1  # torchattacks aims at n_classes - 1 targets
        stepped = {**common, "steps": self.spec.steps, "n_restarts": 1}
        ensemble = (
            Apgd(victim, loss="ce", **stepped, **APGD),
            ApgdT(victim, n_classes=others, **stepped, **APGD),
            torchattacks.FAB(victim, multi_targeted=True, n_classes=others, **stepped, **FAB),
            Square(victim, n_queries=self.spec.queries, **SQUARE, **common),
        )
        return dict(zip(PARTS, ensemble, strict=True))

    @property
    def phases(self) -> tuple[tuple[str, ...], ...]:
        return tuple((part,) for part in PARTS)

    def passes(self, classes: int, phase: int, positions: int) -> float:  # noqa: ARG002
        targets = min(MOST_TARGETS, classes - 1)
        cost = {
            "apgd-ce": 3.0 * self.spec.steps,
            "apgd-t": 3.0 * targets * self.spec.steps,
            "fab-t": 5.5 * targets * self.spec.steps,
            "square": 1.1 * self.spec.queries,
        }
        screening = 3.0 * SCREEN_STEPS if self.screens_after(phase) else 0.0
        return sum(cost[part] for part in self.phases[phase]) + screening


class AutoAttackKind(EnsembleKind[AutoAttackParams]):
    """All parts attack all images that are left."""


class ScreenedAutoAttackKind(EnsembleKind[ScreenedAutoAttackParams]):
    """FAB-T and Square attack only the survivors of the other two with the lowest margin."""

    def screens_after(self, phase: int) -> bool:
        return self.phases[phase] == ("apgd-t",)

    def survivors_after(self, phase: int) -> int | None:
        if not self.screens_after(phase) or self.spec.survivors == "all":
            return None
        return self.spec.survivors
