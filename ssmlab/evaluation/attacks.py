"""Runs the attacks of an evaluation on a batch of images, and judges the images that they return.

The attacks of torchattacks are independent of the attack that trains the models, so a shared bug cannot make results
look too good. The installed package is used without changes, and its side effects are handled here:

- it reseeds the global generator, so every attack runs with a forked generator;
- it takes the device from the first parameter, prints a message if there is none, and changes the module's mode. So it
  never gets the model itself, but a `Victim`, which has a parameter and is in eval mode;
- its attack objects are in reference cycles and keep their model until the garbage collector runs. This is harmless
  here, because all of them share one victim;
- only the images that it returns are used: `check_confined` checks them, and our own forward pass judges them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ssmlab.evaluation.ball import ROUNDING, Ball, column, pgd_alpha
from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.kinds.autoattack import SCREEN_STEPS
from ssmlab.evaluation.losses import margins
from ssmlab.evaluation.own_attacks import distances_of
from ssmlab.evaluation.token_attack import broken_by_position, patches_changed, searched_ball
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AttackSpec, TokenParams


@dataclass(frozen=True)
class Survivors:
    """The result of an attack on a batch of images.

    Attributes:
        right: (B,) bool, whether each image is still classified correctly.
        after: for each part of the attack, in order, the number of images that were still right after it.
        escaped: number of images that came back outside the ball or [0, 1]; they count as not broken.
        x_adv: (B, C, H, W), the adversarial image for every broken image; the clean image otherwise.
        unstable: number of broken images that the model classifies correctly in other batches.
        queries: number of images on which the attack evaluated the model.
        losses: the cross entropy, summed over images, before every step of the first start and after the last step;
            only for FGSM and PGD.
        rights: number of images that are right at the same points.
        distances: (B,) the smallest distance at which each image is broken, infinite if it is not; only for FMN.
        broken_at: (P,), how many images were broken at each position; only for token attacks at every position.
    """

    right: Tensor
    after: dict[str, int]
    escaped: int
    x_adv: Tensor
    unstable: int
    queries: int
    losses: tuple[float, ...] = ()
    rights: tuple[int, ...] = ()
    distances: Tensor | None = None
    broken_at: Tensor | None = None


def run_attack(
    spec: AttackSpec,
    victim: Victim,
    x: Tensor,
    y: Tensor,
    ball: Ball,
    classes: int,
    seed: int,
    phase: int | None = None,
) -> Survivors:
    """Attack images that the victim classifies correctly. Each part sees only the images that the parts before it left.

    Args:
        x: (B, C, H, W) float32 in [0, 1], on the victim's device.
        y: (B,) int64, on the victim's device.
        ball: the study's allowed perturbations of every image.
        seed: the seed of all random numbers; the global generators do not change.
        phase: the number of the attack's phase to run; None for all phases.
    """
    right = torch.ones_like(y, dtype=torch.bool)
    after: dict[str, int] = {}
    escaped, broken_by, queries, distances, broken_at = 0, x.clone(), victim.queries, None, None
    kind, ball = attack_of(spec), searched_ball(spec, ball)
    with forked_generators(), attack_defaults(), steps_noted(spec, victim, y) as steps:
        torch.manual_seed(seed)
        parts = kind.parts(victim, ball, classes, seed)
        for name in [part for now, each in enumerate(kind.phases) if phase in (None, now) for part in each]:
            left = right.nonzero().flatten()
            if len(left):
                x_adv, inside = check_allowed(spec, x[left], parts[name](x[left], y[left]), ball)
                right[left] = victim.is_right(x_adv, y[left]) | ~inside
                broken_by[left] = x_adv
                escaped += int((~inside).sum())
                distances, broken_at = distances_of(parts[name]), broken_by_position(parts[name])
            after[name] = int(right.sum())
        x_adv = torch.where(column(right), x, broken_by)  # (B, C, H, W)
        asked, unstable = victim.queries - queries, right_in_halves(victim, x_adv[~right], y[~right])
    return Survivors(
        right=right,
        after=after,
        escaped=escaped,
        x_adv=x_adv,
        unstable=unstable,
        queries=asked,
        losses=tuple(steps.losses),
        rights=tuple(steps.rights),
        distances=distances,
        broken_at=broken_at,
    )


def right_in_halves(victim: Victim, x: Tensor, y: Tensor) -> int:
    """How many images x (B, C, H, W) are classified as y (B,) if the batch is evaluated in two halves."""
    halves = [rows for rows in torch.arange(len(x)).chunk(2) if len(rows)]
    return sum(int(victim.is_right(x[rows], y[rows]).sum()) for rows in halves)


@dataclass(frozen=True)
class StepNotes:
    """For every forward pass: the cross entropy, summed over the images, and the number of right images."""

    losses: list[float]
    rights: list[int]


@contextmanager
def steps_noted(spec: AttackSpec, victim: Victim, y: Tensor) -> Iterator[StepNotes]:
    """Record the forward passes inside the block; the notes are filled at its end, if the kind has `noted_steps`."""
    steps = attack_of(spec).noted_steps
    noted = StepNotes([], [])
    if steps:
        victim.labels, victim.losses, victim.rights = y, [], []
    try:
        yield noted
    finally:
        victim.labels = None
        if steps:
            noted.losses.extend(victim.losses[: steps + 1])
            noted.rights.extend(victim.rights[: steps + 1])


def lowest_margins(victim: Victim, x: Tensor, y: Tensor, ball: Ball) -> Tensor:
    """The lowest margin (B,) along PGD on the margin, for images x (B, C, H, W) with labels y (B,).

    PGD starts at the image itself, so no random numbers are needed.
    """
    alpha = pgd_alpha(ball.eps, SCREEN_STEPS)
    lowest = torch.full_like(y, float("inf"), dtype=torch.float32)
    x_adv = x
    with attack_defaults():
        for step in range(SCREEN_STEPS + 1):
            here = x_adv.detach().requires_grad_(step < SCREEN_STEPS)
            margin = margins(victim(here), y)  # (B,)
            lowest = torch.minimum(lowest, margin.detach().nan_to_num(nan=float("-inf")))  # (B,)
            if step < SCREEN_STEPS:
                (gradient,) = torch.autograd.grad(margin.sum(), here)
                x_adv = ball.project(here.detach() - alpha * ball.direction(gradient.nan_to_num()), x)
    return lowest


def check_allowed(spec: AttackSpec, x: Tensor, x_adv: Tensor, ball: Ball) -> tuple[Tensor, Tensor]:
    """`check_confined`; for a token attack, an image is also outside if more than one of its patches has changed."""
    x_adv, inside = check_confined(x, x_adv, ball)
    if isinstance(spec, TokenParams):
        inside &= patches_changed(x_adv, x, spec.patch) <= 1
    return x_adv, inside


def check_confined(x: Tensor, x_adv: Tensor, ball: Ball) -> tuple[Tensor, Tensor]:
    """Check what an attack returned.

    Args:
        x, x_adv: (B, C, H, W), the clean images and the images that the attack returned.
        ball: the allowed perturbations.

    Returns:
        x_adv (B, C, H, W), projected to remove rounding errors, and whether each image was inside, bool (B,). An image
        is outside if it is not finite, or if it is outside the ball or [0, 1] by more than rounding (1e-6 per pixel).
        It is then replaced by the clean image.
    """
    x_adv = x_adv.detach()
    in_box = (torch.maximum(-x_adv, x_adv - 1.0) <= ROUNDING).flatten(1).all(dim=1)  # (B,); NaN compares as false
    inside = in_box & ball.contains(x_adv, x)  # (B,)
    return torch.where(column(inside), ball.project(x_adv, x), x).contiguous(), inside


@contextmanager
def forked_generators() -> Iterator[None]:
    """Restore the state of torch's global generators, of every device in use, at the end."""
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if in_use else ()):
        yield


@contextmanager
def attack_defaults() -> Iterator[None]:
    """Enable gradients and make float32 the default dtype, as torchattacks expects; restore both at the end."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(before)
