"""Attacks as settings of a training: the adversary, weight perturbation, and selection by an attack."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from ssmlab.params.base import Epsilon, Norm, Positive, Strict, at_most_one
from ssmlab.params.written_float import WrittenFloat


class AdversaryParams(Strict):
    """A PGD adversary: `steps` steps of size `alpha` in the ball of radius `eps` of `norm`, in [0, 1] pixel units."""

    norm: Norm = "linf"
    eps: Epsilon
    alpha: Epsilon
    steps: Positive
    random_start: bool

    @field_validator("eps", "alpha")
    @classmethod
    def _fits_the_pixel_range(cls, value: WrittenFloat, earlier: ValidationInfo) -> WrittenFloat:
        return at_most_one(value) if earlier.data.get("norm") == "linf" else value


class AwpParams(Strict):
    """Adversarial weight perturbation (Wu et al. 2020).

    Attributes:
        gamma: size of the perturbation relative to the weights; 0.005 is usual.
        warmup: number of first epochs without it; none by default.
    """

    gamma: Annotated[float, Field(ge=0.0)]
    warmup: Positive | None = None


class SelectionParams(Strict):
    """Which epoch becomes the `best` checkpoint.

    Attributes:
        split: `validation` is held out of training; `test` reproduces the paper's protocol and is marked in the report.
        by: the accuracy that decides; the other accuracy breaks ties.
        adversary: the attack for the robust accuracy.
    """

    split: Literal["validation", "test"]
    by: Literal["robust", "clean"]
    adversary: AdversaryParams

    def score(self, clean: float, robust: float) -> tuple[float, float]:
        """What is compared between epochs, higher is better: the accuracy that decides, then the other."""
        return (robust, clean) if self.by == "robust" else (clean, robust)
