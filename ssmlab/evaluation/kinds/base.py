"""What all kinds of attacks share: their settings, and what they say about the way they run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from torch import Tensor

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AttackBase

# from images (B, C, H, W) and labels (B,) to adversarial images (B, C, H, W)
AttackPart = Callable[[Tensor, Tensor], Tensor]
Spec = TypeVar("Spec", bound=AttackBase)


class AttackKind(ABC, Generic[Spec]):
    """One attack with its settings. Most kinds have one part, which `parts` makes; all else has defaults.

    Attributes:
        noted_steps: how many steps of its first start are recorded, with the loss before each and after the last.
    """

    noted_steps: int = 0

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    @abstractmethod
    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:
        """The attack's parts (each an `AttackPart`) by the names in `phases`.

        A part returns images in [0, 1] and in the ball around the given images. If it finds no image that the victim
        gets wrong, it may return any image of the ball. Equal seeds must give equal images, whatever else is in the
        batch.
        """

    @property
    def phases(self) -> tuple[tuple[str, ...], ...]:
        """The names of the parts in the order in which they run, grouped into phases.

        Between two phases, the remaining images are collected into full batches, because an image in a batch of 2 or 3
        costs three times as much as in a batch of 16 or more.
        """
        return ((self.spec.kind,),)

    def passes(self, classes: int, phase: int, positions: int) -> float:  # noqa: ARG002  # most kinds need none of them
        """The approximate cost of a phase for an image that it cannot break, in forward passes, on one CPU thread.

        A gradient step costs about 3 passes, which is the default; a step of FAB, with its projection and own forward
        pass, costs about 5.5. Only the progress and the order of tasks depend on it, and no result.
        """
        return 3.0

    def screens_after(self, phase: int) -> bool:  # noqa: ARG002
        """Whether the survivors of this phase are ranked by their margin, because only the lowest may continue."""
        return False

    def survivors_after(self, phase: int) -> int | None:  # noqa: ARG002
        """How many survivors of this phase continue (those with the lowest margins); None for all."""
        return None

    @property
    def phases_before_screening(self) -> int:
        """The number of first phases that see every remaining image."""
        screening = [phase + 1 for phase in range(len(self.phases)) if self.screens_after(phase)]
        return min(screening, default=len(self.phases))
