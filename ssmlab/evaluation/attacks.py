"""The judging attacks on a batch of images, and our own judgement of what they return.

torchattacks is independent of the attack that trains the models, so that a shared bug cannot flatter a result. It is
used as it is installed; what it does to its surroundings is undone here:

- it reseeds the global generator, so every attack runs under a forked one;
- it takes the device from the first parameter, prints where there is none, and switches the module's mode, so it is
  handed a `Victim`, which has a parameter and is in eval mode, and never the model itself;
- its attack objects lie in reference cycles and keep their model until the garbage collector comes by. That is
  harmless here, where all of them share one victim;
- it is believed nothing but the images: `check_confined` checks them, and our own forward pass judges them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ssmlab.evaluation.ball import ROUNDING, Ball, column, pgd_alpha
from ssmlab.evaluation.losses import margins
from ssmlab.evaluation.own_attacks import distances_of
from ssmlab.evaluation.parts import SCREEN_STEPS, attack_parts, phases
from ssmlab.evaluation.token_attack import broken_by_position, patches_changed, searched_ball
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AttackSpec, FgsmParams, PgdParams, TokenParams


@dataclass(frozen=True)
class Survivors:
    """Which images of a batch an attack has not broken.

    Attributes:
        right: (B,) bool, the images that are still classified correctly.
        after: for each part of the attack, in order, how many of them were left after it.
        escaped: how many images came back outside the ball or [0, 1]; they count as not broken.
        x_adv: (B, C, H, W), what broke each image that was broken; the clean image otherwise.
        unstable: how many of the broken images the model has right when it sees them in other batches.
        queries: how many images the attack asked the model about.
        losses: the cross entropy before every step of the first start and after the last, summed over the images; only
            of FGSM and PGD.
        distances: (B,) at which the images are broken, infinite where they are not; only of FMN.
        broken_at: (P,), how many images were broken at each position; only of token attacks at every position.
    """

    right: Tensor
    after: dict[str, int]
    escaped: int
    x_adv: Tensor
    unstable: int
    queries: int
    losses: tuple[float, ...] = ()
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
    """Attack images that the victim classifies correctly; a part sees only those that the parts before it left over.

    Args:
        x: (B, C, H, W) float32 in [0, 1]; y: (B,) int64; both on the victim's device.
        ball: of the study, around every image.
        seed: of everything random in it; the global generators are left as they were.
        phase: which of the attack's phases; None for all.
    """
    right = torch.ones_like(y, dtype=torch.bool)
    after: dict[str, int] = {}
    escaped, broken_by, queries, distances, broken_at = 0, x.clone(), victim.queries, None, None
    ball = searched_ball(spec, ball)
    with forked_generators(), attack_defaults(), losses_noted(spec, victim, y) as losses:
        torch.manual_seed(seed)
        parts = attack_parts(spec, victim, ball, classes, seed)
        for name in [part for now, each in enumerate(phases(spec)) if phase in (None, now) for part in each]:
            left = right.nonzero().flatten()
            if len(left):
                x_adv, inside = check_confined(x[left], parts[name](x[left], y[left]), ball)
                if isinstance(spec, TokenParams):
                    inside &= patches_changed(x_adv, x[left], spec.patch) <= 1
                right[left] = victim.is_right(x_adv, y[left]) | ~inside
                broken_by[left] = x_adv
                escaped += int((~inside).sum())
                distances, broken_at = distances_of(parts[name]), broken_by_position(parts[name])
            after[name] = int(right.sum())
        x_adv = torch.where(column(right), x, broken_by)  # (B, C, H, W)
        asked = victim.queries - queries
        unstable = right_in_halves(victim, x_adv[~right], y[~right])
    return Survivors(right, after, escaped, x_adv, unstable, asked, tuple(losses), distances, broken_at)


def right_in_halves(victim: Victim, x: Tensor, y: Tensor) -> int:
    """How many of the images x (B, C, H, W) have label y (B,) when they are asked about in two halves of the batch."""
    halves = [rows for rows in torch.arange(len(x)).chunk(2) if len(rows)]
    return sum(int(victim.is_right(x[rows], y[rows]).sum()) for rows in halves)


@contextmanager
def losses_noted(spec: AttackSpec, victim: Victim, y: Tensor) -> Iterator[list[float]]:
    """The losses of the forward passes inside, filled at the end; of attacks that take a step in each of them."""
    steps = spec.steps if isinstance(spec, PgdParams) else 1 if isinstance(spec, FgsmParams) else 0
    noted: list[float] = []
    if steps:
        victim.labels, victim.losses = y, []
    try:
        yield noted
    finally:
        victim.labels = None
        if steps:
            noted += victim.losses[: steps + 1]


def lowest_margins(victim: Victim, x: Tensor, y: Tensor, ball: Ball) -> Tensor:
    """The lowest margin that PGD on it meets, for each of the images x (B, C, H, W) with labels y (B,): (B,).

    It starts at the image itself, so that it draws nothing.
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


def check_confined(x: Tensor, x_adv: Tensor, ball: Ball) -> tuple[Tensor, Tensor]:
    """Check what an attack returned.

    Args:
        x, x_adv: (B, C, H, W), the images and what became of them; ball: where they must be.

    Returns:
        x_adv with its rounding errors projected away, contiguous, and x itself for every image that was not finite or
        further than rounding (1e-6 a pixel) outside the ball or [0, 1]; and whether each image was inside, bool (B,).
    """
    x_adv = x_adv.detach()
    in_box = (torch.maximum(-x_adv, x_adv - 1.0) <= ROUNDING).flatten(1).all(dim=1)  # (B,); NaN compares as false
    inside = in_box & ball.contains(x_adv, x)  # (B,)
    return torch.where(column(inside), ball.project(x_adv, x), x).contiguous(), inside


@contextmanager
def forked_generators() -> Iterator[None]:
    """torch's global generators, of every device that is in use, are afterwards as they were."""
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if in_use else ()):
        yield


@contextmanager
def attack_defaults() -> Iterator[None]:
    """Gradients are on and new tensors are float32, as torchattacks takes for granted; afterwards all is as before."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(before)
