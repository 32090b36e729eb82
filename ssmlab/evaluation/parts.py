"""What attacks are made of: the attacks of torchattacks with our settings, and with random starts of our own."""

from __future__ import annotations

from typing import Any

import torchattacks
from torch import Tensor, nn

from ssmlab.evaluation.image_noise import StartsByImage
from ssmlab.params import AttackSpec, AutoAttackParams, FgsmParams, PgdParams, ScreenedAutoAttackParams

MOST_TARGETS = 9  # of standard AutoAttack (Croce and Hein 2020)
AUTOATTACK_PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")
SCREEN_STEPS = 20  # of PGD on the margin, which ranks the survivors of screened AutoAttack


class Pgd(StartsByImage, torchattacks.PGD):  # type: ignore[misc]
    """PGD whose random start depends on the image."""

    def __init__(self, victim: nn.Module, seed: int, **settings: Any) -> None:
        super().__init__(victim, **settings)
        self.seed = seed

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images (B, C, H, W)."""
        with self.noise_of(images):
            x_adv: Tensor = super().forward(images, labels)
        return x_adv


class StartsByImageInRuns(StartsByImage):
    """For the parts of AutoAttack, which draw their start in `attack_single_run`."""

    def attack_single_run(self, x: Tensor, y: Tensor) -> Any:
        """torchattacks' run, with the starts of its images."""
        with self.noise_of(x):
            return super().attack_single_run(x, y)  # type: ignore[misc]


class Apgd(StartsByImageInRuns, torchattacks.APGD):  # type: ignore[misc]
    """APGD whose random start depends on the image."""


class ApgdT(StartsByImageInRuns, torchattacks.APGDT):  # type: ignore[misc]
    """Targeted APGD whose random starts, one a target, depend on the image."""


class Square(StartsByImageInRuns, torchattacks.Square):  # type: ignore[misc]
    """Square whose first stripes depend on the image. The squares that follow are the same for all images."""


def phases(spec: AttackSpec) -> tuple[tuple[str, ...], ...]:
    """The parts of an attack in the order in which they run, those together that need no choice of images between."""
    if isinstance(spec, ScreenedAutoAttackParams):
        return (AUTOATTACK_PARTS[:2], AUTOATTACK_PARTS[2:])
    if isinstance(spec, AutoAttackParams):
        return (AUTOATTACK_PARTS,)
    return ((spec.kind,),)


def attack_parts(spec: AttackSpec, victim: nn.Module, eps: float, classes: int, seed: int) -> dict[str, Any]:
    """The torchattacks objects behind a specification, by the names that `phases` gives them.

    AutoAttack is the standard ensemble of Croce and Hein (2020): APGD on the cross-entropy, targeted APGD and targeted
    FAB with 9 targets (all wrong classes if there are fewer), and Square without its rescaled schedule.
    `torchattacks.AutoAttack` has the parts but not these settings: 10 steps, and Square rescaled. FAB with one restart
    draws nothing.

    AutoAttack needs at least 4 classes: see `ssmlab.evaluation.plan`.
    """
    if isinstance(spec, FgsmParams):
        return {"fgsm": torchattacks.FGSM(victim, eps=eps)}
    if isinstance(spec, PgdParams):
        alpha = float(spec.alpha)
        return {"pgd": Pgd(victim, seed, eps=eps, alpha=alpha, steps=spec.steps, random_start=spec.random_start)}
    common = {"norm": "Linf", "eps": eps, "n_restarts": 1, "seed": seed}
    apgd = {**common, "steps": spec.steps, "eot_iter": 1, "rho": 0.75}
    fab = {**common, "steps": spec.steps, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
    square = {**common, "n_queries": spec.queries, "p_init": 0.8, "loss": "margin", "resc_schedule": False}
    others = min(MOST_TARGETS, classes - 1) + 1  # torchattacks aims at n_classes - 1 targets
    ensemble = (
        Apgd(victim, loss="ce", **apgd),
        ApgdT(victim, n_classes=others, **apgd),
        torchattacks.FAB(victim, multi_targeted=True, n_classes=others, **fab),
        Square(victim, **square),
    )
    return dict(zip(AUTOATTACK_PARTS, ensemble, strict=True))


def passes(spec: AttackSpec, classes: int, phase: int) -> float:
    """About how many forward passes a phase costs for an image it cannot break, as measured on one CPU thread.

    A gradient step is about 3, FAB's with its projection and its own forward pass 5.5.
    """
    if isinstance(spec, FgsmParams):
        return 3.0
    if isinstance(spec, PgdParams):
        return 3.0 * spec.steps
    targets = min(MOST_TARGETS, classes - 1)
    cost = {
        "apgd-ce": 3.0 * spec.steps,
        "apgd-t": 3.0 * targets * spec.steps,
        "fab-t": 5.5 * targets * spec.steps,
        "square": 1.1 * spec.queries,
    }
    screening = 3.0 * SCREEN_STEPS if isinstance(spec, ScreenedAutoAttackParams) and phase == 0 else 0.0
    return sum(cost[part] for part in phases(spec)[phase]) + screening
