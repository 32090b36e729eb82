"""The attacks of torchattacks with our own random starts, and the settings that all of them share."""

from __future__ import annotations

from typing import Any

import torchattacks
from torch import Tensor

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.image_noise import StartsByImage
from ssmlab.evaluation.victim import Victim

APGD: dict[str, Any] = {"eot_iter": 1, "rho": 0.75}
SQUARE: dict[str, Any] = {"n_restarts": 1, "p_init": 0.8, "loss": "margin", "resc_schedule": False}


def library_settings(ball: Ball, seed: int) -> dict[str, Any]:
    """The ball and the seed as the parts of torchattacks' AutoAttack take them."""
    return {"norm": {"linf": "Linf", "l2": "L2"}[ball.norm], "eps": ball.eps, "seed": seed}


class Pgd(StartsByImage, torchattacks.PGD):  # type: ignore[misc]
    """PGD whose random start depends on the image."""

    def __init__(self, victim: Victim, seed: int, **settings: Any) -> None:
        super().__init__(victim, **settings)
        self.seed = seed

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images (B, C, H, W)."""
        with self.noise_of(images):
            x_adv: Tensor = super().forward(images, labels)
        return x_adv


class StartsByImageInRuns(StartsByImage):
    """`StartsByImage` for the parts of AutoAttack, which draw their start in `attack_single_run`."""

    def attack_single_run(self, x: Tensor, y: Tensor) -> Any:
        """torchattacks' run with starts that depend on the images."""
        with self.noise_of(x):
            return super().attack_single_run(x, y)  # type: ignore[misc]


class Apgd(StartsByImageInRuns, torchattacks.APGD):  # type: ignore[misc]
    """APGD whose random start depends on the image."""


class ApgdT(StartsByImageInRuns, torchattacks.APGDT):  # type: ignore[misc]
    """Targeted APGD whose random starts, one per target, depend on the image."""


class Square(StartsByImageInRuns, torchattacks.Square):  # type: ignore[misc]
    """Square whose first stripes or tiles depend on the image. The squares after them are the same for all images."""

    def random_choice(self, shape: Any) -> Tensor:
        """Random signs, the same for all images: torchattacks' signs in L2 depend on the number of images left."""
        shared = not self.in_start and len(shape) == 4
        signs: Tensor = super().random_choice([1, *shape[1:]] if shared else shape)
        return signs
