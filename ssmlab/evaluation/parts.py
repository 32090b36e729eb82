"""The parts of attacks: the attacks of torchattacks with our settings and with our own random starts."""

from __future__ import annotations

from typing import Any

import torchattacks
from torch import Tensor

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.image_noise import StartsByImage
from ssmlab.evaluation.losses import cross_entropy, negative_margin
from ssmlab.evaluation.own_attacks import Fmn, LossPgd, Restarts
from ssmlab.evaluation.token_attack import TokenAttack
from ssmlab.evaluation.victim import Victim
from ssmlab.params import (
    ApgdParams,
    AttackSpec,
    AutoAttackParams,
    FgsmParams,
    FmnParams,
    PgdParams,
    ScreenedAutoAttackParams,
    SquareParams,
    TokenParams,
)

MOST_TARGETS = 9  # target classes of standard AutoAttack (Croce and Hein 2020)
AUTOATTACK_PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")
SCREEN_STEPS = 20  # steps of PGD on the margin, which ranks the survivors in screened AutoAttack


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


def phases(spec: AttackSpec) -> tuple[tuple[str, ...], ...]:
    """The parts of an attack in the order in which they run, grouped into phases.

    Between two phases, the remaining images are collected into full batches: an image in a batch of 2 or 3 costs three
    times as much as in a batch of 16 or more.
    """
    if isinstance(spec, AutoAttackParams | ScreenedAutoAttackParams):
        return tuple((part,) for part in AUTOATTACK_PARTS)
    return ((spec.kind,),)


def screens_after(spec: AttackSpec, phase: int) -> bool:
    """Whether only the survivors with the lowest margin continue after this phase."""
    return isinstance(spec, ScreenedAutoAttackParams) and phases(spec)[phase] == ("apgd-t",)


def phases_before_screening(spec: AttackSpec) -> int:
    """The number of first phases of an attack that see every remaining image."""
    count = len(phases(spec))
    return next((phase + 1 for phase in range(count) if screens_after(spec, phase)), count)


def attack_parts(spec: AttackSpec, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:
    """The attacks of a specification, by the names in `phases`; from torchattacks if it has them.

    AutoAttack is the standard ensemble of Croce and Hein (2020): APGD on the cross-entropy, targeted APGD and targeted
    FAB with 9 targets (all wrong classes if there are fewer), and Square without its rescaled schedule.
    `torchattacks.AutoAttack` has the same parts with other settings: 10 steps, and Square with the rescaled schedule.
    FAB with one restart uses no random numbers.

    AutoAttack needs at least 4 classes: see `ssmlab.evaluation.plan`.
    """
    if isinstance(spec, FgsmParams):
        return {"fgsm": fgsm_part(victim, ball, seed)}
    if isinstance(spec, PgdParams):
        return {"pgd": pgd_part(spec, victim, ball, seed)}
    if isinstance(spec, FmnParams):
        return {"fmn": Fmn(victim, ball=ball, steps=spec.steps)}
    if isinstance(spec, TokenParams):
        patch, positions, steps = spec.patch, spec.positions, spec.steps
        return {"token": TokenAttack(victim, seed, ball=ball, patch=patch, positions=positions, steps=steps)}
    common = {"norm": {"linf": "Linf", "l2": "L2"}[ball.norm], "eps": ball.eps, "seed": seed}
    square = {"n_restarts": 1, "p_init": 0.8, "loss": "margin", "resc_schedule": False}
    if isinstance(spec, SquareParams):
        return {"square": Square(victim, n_queries=spec.queries, **square, **common)}
    apgd = {**common, "steps": spec.steps, "eot_iter": 1, "rho": 0.75}
    if isinstance(spec, ApgdParams):
        return {"apgd": Apgd(victim, loss=spec.loss, n_restarts=spec.restarts, **apgd)}
    fab = {**common, "steps": spec.steps, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
    others = min(MOST_TARGETS, classes - 1) + 1  # torchattacks aims at n_classes - 1 targets
    ensemble = (
        Apgd(victim, loss="ce", n_restarts=1, **apgd),
        ApgdT(victim, n_classes=others, n_restarts=1, **apgd),
        torchattacks.FAB(victim, multi_targeted=True, n_classes=others, n_restarts=1, **fab),
        Square(victim, n_queries=spec.queries, **square, **common),
    )
    return dict(zip(AUTOATTACK_PARTS, ensemble, strict=True))


def fgsm_part(victim: Victim, ball: Ball, seed: int) -> Any:
    """torchattacks' FGSM; in L2 the fast gradient method, one step of length eps along the gradient."""
    if ball.norm == "linf":
        return torchattacks.FGSM(victim, eps=ball.eps)
    return LossPgd(victim, seed, cross_entropy, ball=ball, alpha=ball.eps, steps=1, random_start=False)


def pgd_part(spec: PgdParams, victim: Victim, ball: Ball, seed: int) -> Any:
    """torchattacks' PGD, or our own PGD on the margin and in L2; from one start or from several."""
    settings: dict[str, Any] = {"alpha": float(spec.alpha), "steps": spec.steps, "random_start": spec.random_start}
    once: Any
    if spec.loss or ball.norm == "l2":
        once = LossPgd(victim, seed, negative_margin if spec.loss else cross_entropy, ball=ball, **settings)
    else:
        once = Pgd(victim, seed, eps=ball.eps, **settings)
    return once if spec.restarts is None else Restarts(once, victim, spec.restarts)


def passes(spec: AttackSpec, classes: int, phase: int, positions: int = 1) -> float:
    """The approximate cost of a phase for an image that it cannot break, in forward passes, measured on one CPU thread.

    A gradient step costs about 3 passes; a step of FAB, with its projection and own forward pass, costs about 5.5.

    Args:
        positions: how many there are in an image for an attack that goes by position.
    """
    if isinstance(spec, FgsmParams):
        return 3.0
    if isinstance(spec, PgdParams | ApgdParams):
        return 3.0 * spec.steps * (spec.restarts or 1)
    if isinstance(spec, FmnParams):
        return 3.0 * (spec.steps + 1)
    if isinstance(spec, TokenParams):
        attacked = positions if spec.positions == "all" else min(spec.positions, positions)
        return 3.0 + 2.0 * positions + 3.0 * spec.steps * attacked
    if isinstance(spec, SquareParams):
        return 1.1 * spec.queries
    targets = min(MOST_TARGETS, classes - 1)
    cost = {
        "apgd-ce": 3.0 * spec.steps,
        "apgd-t": 3.0 * targets * spec.steps,
        "fab-t": 5.5 * targets * spec.steps,
        "square": 1.1 * spec.queries,
    }
    screening = 3.0 * SCREEN_STEPS if screens_after(spec, phase) else 0.0
    return sum(cost[part] for part in phases(spec)[phase]) + screening
