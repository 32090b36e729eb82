"""Checks whether attacks behave as on a normal model: more effort breaks more, and gradients beat random noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssmlab.core.text import percent
from ssmlab.evaluation.ball import Ball, pgd_alpha
from ssmlab.evaluation.checks.finding import finding, images_finding
from ssmlab.evaluation.checks.softened import SoftenedGates
from ssmlab.evaluation.losses import ImageLoss, cross_entropy, negative_margin
from ssmlab.evaluation.plan import largest_eps
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim, is_right

NOISES = 50
RESTARTS = 10


@dataclass(frozen=True, eq=False)
class Attacked:
    """Images x (B, C, H, W) that the victim classifies correctly as y (B,), and the generator of random starts."""

    victim: Victim
    x: Tensor
    y: Tensor
    generator: torch.Generator

    def left(self, ball: Ball, steps: int, loss: ImageLoss = cross_entropy, among: Tensor | None = None) -> Tensor:
        """Which images stay right at every one of `steps` steps of PGD from a random start: bool (B,).

        Args:
            among: bool (B,), the images to attack; the others count as broken. None means all images.
        """
        left = torch.ones_like(self.y, dtype=torch.bool) if among is None else among.clone()
        noise = torch.rand(self.x.shape, generator=self.generator).to(self.x) * 2 - 1  # (B, C, H, W)
        x_adv = ball.project(self.x + ball.eps * noise, self.x)
        alpha = pgd_alpha(ball.eps, steps)
        for _ in range(steps):
            rows = left.nonzero().flatten()
            if len(rows) == 0:
                return left
            x, y = self.x[rows], self.y[rows]
            here = x_adv[rows].requires_grad_()
            logits = self.victim(here)  # (rows, classes)
            left[rows] = is_right(logits, y)  # judges the step before with the same forward pass
            (gradient,) = torch.autograd.grad(loss(logits, y).sum(), here)
            x_adv[rows] = ball.project(here.detach() + alpha * ball.direction(gradient.nan_to_num()), x)
        rows = left.nonzero().flatten()
        if len(rows):
            left[rows] = self.victim.is_right(x_adv[rows], self.y[rows])
        return left

    def left_by_noise(self, ball: Ball, among: Tensor) -> Tensor:
        """Which of the images `among` stay right under 50 random perturbations of length eps: bool (B,)."""
        left = among.clone()
        for _ in range(NOISES):
            rows = left.nonzero().flatten()
            if len(rows) == 0:
                break
            signs = torch.randint(0, 2, self.x.shape[1:], generator=self.generator).to(self.x) * 2 - 1  # (C, H, W)
            noisy = (self.x[rows] + ball.eps * ball.direction(signs[None])).clamp(0.0, 1.0)
            left[rows] = self.victim.is_right(noisy, self.y[rows])
        return left


def strength_checks(attacked: Attacked, ball: Ball, classes: int) -> list[Check]:
    """The checks that attack: with more steps, restarts, another loss, no gradients, softened gates, larger balls."""
    first, twenty = attacked.left(ball, 10), attacked.left(ball, 20)
    found = effort_checks(attacked, ball, first, twenty) + radius_checks(attacked, ball, twenty, classes)
    return found + gate_checks(attacked, ball, twenty)


def gate_checks(attacked: Attacked, ball: Ball, twenty: Tensor) -> list[Check]:
    """Compare PGD with and without a softened backward pass of gates.

    There is no check for a model without gates, or if PGD-20 broke every image. Both attacks use the images that
    survived PGD-20, `twenty` (B,), and the same starts. So the gain of a second start does not count as a gain of
    softening.
    """
    if not (twenty.any() and uses_gates(attacked.victim, attacked.x[:1])):
        return []
    state = attacked.generator.get_state()
    plain = int(attacked.left(ball, 20, among=twenty).sum())
    attacked.generator.set_state(state)
    with SoftenedGates():
        softened = int(attacked.left(ball, 20, among=twenty).sum())
    n = len(attacked.x)
    sentence = (
        f"PGD-20 leaves {plain} of {n} images right, and only {softened} if the backward pass of gates (ReLU, sigmoid, "
        "tanh) is softened: closed gates hide the gradient"
    )
    return [images_finding("softened gates gain", plain - softened, n, 0.02, sentence)]


@torch.no_grad()
def uses_gates(victim: Victim, x: Tensor) -> bool:
    """Whether the model has gates (ReLU, sigmoid, tanh), for images x (B, C, H, W); one forward pass shows it."""
    gates = SoftenedGates()
    with gates:
        victim(x)
    return gates.met > 0


def effort_checks(attacked: Attacked, ball: Ball, first: Tensor, twenty: Tensor) -> list[Check]:
    """More or other effort in the same ball; `first` and `twenty` (B,) mark survivors of PGD-10 and PGD-20."""
    n = len(attacked.x)
    by_margin, fifty = attacked.left(ball, 20, negative_margin), attacked.left(ball, 50)
    by_noise = attacked.left_by_noise(ball, fifty)
    many = first
    for _ in range(RESTARTS - 1):
        many = attacked.left(ball, 10, among=many)
    counts = [int(each.sum()) for each in (first, twenty, by_margin, fifty, by_noise, many)]
    ten, ce, margin, long, noise, restarts = counts
    return [
        images_finding(
            "margin beats cross entropy",
            ce - margin,
            n,
            0.10,  # normal models: up to 6% of 64 images; the margin is the better loss for many of them
            f"PGD-20 on the cross entropy leaves {ce} of {n} images right, PGD-20 on the margin {margin}: the cross "
            "entropy is masked",
        ),
        images_finding(
            "noise beats gradients",
            long - noise,
            n,
            0.02,
            f"random noise breaks {long - noise} of {n} images that PGD-50 does not break: the gradients mislead it",
        ),
        images_finding(
            "more steps help the model",
            long - ten,
            n,
            0.01,
            f"PGD-50 leaves {long} of {n} images right, but PGD-10 only {ten}: the gradients mislead it",
        ),
        finding(
            "restarts gain",
            (ten - restarts) / n,
            0.05,
            f"{RESTARTS} starts of PGD-10 leave {restarts} of {n} images right, but one start {ten}: one is too weak",
        ),
    ]


def radius_checks(attacked: Attacked, ball: Ball, twenty: Tensor, classes: int) -> list[Check]:
    """PGD-20 in larger balls, where it must break more; `twenty` (B,) marks the images that survived it at eps.

    The two largest balls use L-inf for every norm: in one, every image can become grey; in the other, any image.
    """
    n, at_eps = len(attacked.x), int(twenty.sum())
    found = []
    if 2 * ball.eps <= largest_eps(ball.norm, attacked.x[0].numel()):
        double = int(attacked.left(ball.scaled(2), 20).sum())
        found.append(
            images_finding(
                "accuracy rises with eps",
                double - at_eps,
                n,
                0.01,
                f"PGD-20 leaves {at_eps} of {n} images right at eps {ball.eps:.3g}, but {double} at twice that eps",
            )
        )
    half, whole = (int(attacked.left(Ball(radius), 20).sum()) / n for radius in (0.5, 1.0))
    return [
        *found,
        finding(
            "eps 0.5 survived",
            half,
            2.0 / classes,
            f"{percent(half)} of the images survive PGD-20 with eps 0.5 in L-inf, where every image can become grey: "
            "the attack fails",
        ),
        finding(
            "eps 1 survived",
            whole,
            0.05,
            f"{percent(whole)} of the images survive PGD-20 with eps 1 in L-inf, where any image is allowed: the "
            "attack fails",
        ),
    ]
