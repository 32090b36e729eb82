"""An attack's settings as floats. Params and results keep eps as the user wrote it (`8/255`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import get_args

from ssmlab.core.errors import UserError
from ssmlab.params import AdversaryParams, Norm


@dataclass(frozen=True)
class Attack:
    """Projected gradient descent's settings, for images with pixels in [0, 1].

    Attributes:
        eps: radius of the ball around every image, at least 0; for L-inf at most 1.
        alpha: length of a step in the ball's norm, at least 0.
        steps: number of steps, at least 0.
        norm: "linf" or "l2", for the ball and for the steps.
        random_start: start at a random point of the ball instead of at the image.

    Raises:
        UserError: a value is out of range or of the wrong type.
    """

    eps: float
    alpha: float
    steps: int
    norm: Norm = "linf"
    random_start: bool = True

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise UserError(f"Attack: norm must be one of {', '.join(get_args(Norm))}; it is {self.norm!r}")
        for name, value in (("eps", self.eps), ("alpha", self.alpha)):
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
                raise UserError(f"Attack: {name} must be a number, at least 0, such as 8/255; it is {value!r}")
        if self.norm == "linf" and self.eps > 1:
            raise UserError(f"Attack: eps must be at most 1, as pixels are in [0, 1]; is {self.eps}/255 meant?")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise UserError(f"Attack: steps must be a whole number, at least 0; it is {self.steps!r}")

    def scaled(self, factor: float) -> Attack:
        """The same attack with a smaller ball and shorter steps.

        Args:
            factor: multiplies eps and alpha; in [0, 1].
        """
        return replace(self, eps=self.eps * factor, alpha=self.alpha * factor)


def attack_from(params: AdversaryParams) -> Attack:
    """The attack that a section of the params describes: the one place where the written eps becomes a float."""
    return Attack(
        eps=float(params.eps),
        alpha=float(params.alpha),
        steps=params.steps,
        norm=params.norm,
        random_start=params.random_start,
    )
