"""Do attacks do what attacks on an honest model do? More effort must break more, and gradients must beat chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ssmlab.core.text import percent
from ssmlab.evaluation.checks.finding import finding, images_finding
from ssmlab.evaluation.checks.softened import SoftenedGates
from ssmlab.evaluation.losses import cross_entropy, negative_margin
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim, is_right

AttackLoss = Callable[[Tensor, Tensor], Tensor]
NOISES = 50
RESTARTS = 10


@dataclass(frozen=True, eq=False)
class Attacked:
    """Images x (B, C, H, W) that the victim classifies correctly, as y (B,), and what draws the random starts."""

    victim: Victim
    x: Tensor
    y: Tensor
    generator: torch.Generator

    def left(self, eps: float, steps: int, loss: AttackLoss = cross_entropy, among: Tensor | None = None) -> Tensor:
        """Which images `steps` steps of PGD from a random start leave right at every step: bool (B,).

        Args:
            among: bool (B,), the images to attack; the others count as broken. All if it is left out.
        """
        left = torch.ones_like(self.y, dtype=torch.bool) if among is None else among.clone()
        noise = torch.rand(self.x.shape, generator=self.generator).to(self.x) * 2 - 1  # (B, C, H, W)
        x_adv = (self.x + eps * noise).clamp(0.0, 1.0)
        alpha = 2.5 * eps / steps
        for _ in range(steps):
            rows = left.nonzero().flatten()
            if len(rows) == 0:
                return left
            x, y = self.x[rows], self.y[rows]
            here = x_adv[rows].requires_grad_()
            logits = self.victim(here)  # (rows, classes)
            left[rows] = is_right(logits, y)  # of the step before: one forward pass serves both
            (gradient,) = torch.autograd.grad(loss(logits, y).sum(), here)
            moved = here.detach() + alpha * gradient.nan_to_num().sign()
            x_adv[rows] = torch.clamp(moved, x - eps, x + eps).clamp(0.0, 1.0)
        rows = left.nonzero().flatten()
        if len(rows):
            left[rows] = self.victim.is_right(x_adv[rows], self.y[rows])
        return left

    def left_by_noise(self, eps: float, among: Tensor) -> Tensor:
        """Which of the images `among` keep their label under all of many random sign noises of size eps: bool (B,)."""
        left = among.clone()
        for _ in range(NOISES):
            rows = left.nonzero().flatten()
            if len(rows) == 0:
                break
            signs = torch.randint(0, 2, self.x.shape[1:], generator=self.generator).to(self.x) * 2 - 1  # (C, H, W)
            left[rows] = self.victim.is_right((self.x[rows] + eps * signs).clamp(0.0, 1.0), self.y[rows])
        return left


def strength_checks(attacked: Attacked, eps: float, classes: int) -> list[Check]:
    """The checks that attack: at `eps`, beyond it, with other losses, more steps, restarts, and without gradients."""
    first, twenty = attacked.left(eps, 10), attacked.left(eps, 20)
    found = effort_checks(attacked, eps, first, twenty) + radius_checks(attacked, eps, twenty, classes)
    return found + gate_checks(attacked, eps, twenty)


def gate_checks(attacked: Attacked, eps: float, twenty: Tensor) -> list[Check]:
    """PGD with a softened backward pass of gates against the same as it is; none for a model without gates.

    Both attack what PGD-20 left, `twenty` (B,), from the same starts, so that a second start is not taken for a gain.
    """
    state, gates = attacked.generator.get_state(), SoftenedGates()
    plain = int(attacked.left(eps, 20, among=twenty).sum())
    attacked.generator.set_state(state)
    with gates:
        softened = int(attacked.left(eps, 20, among=twenty).sum())
    if not gates.met:
        return []
    n = len(attacked.x)
    sentence = (
        f"PGD-20 leaves {plain} of {n} images right, and {softened} where the backward pass of gates (ReLU, sigmoid, "
        "tanh) is softened: shut gates hide the gradient"
    )
    return [images_finding("softened gates gain", plain - softened, n, 0.02, sentence)]


def effort_checks(attacked: Attacked, eps: float, first: Tensor, twenty: Tensor) -> list[Check]:
    """More effort, or another kind of it, at the same eps; `first` and `twenty` (B,) survived PGD-10 and PGD-20."""
    n = len(attacked.x)
    by_margin, fifty = attacked.left(eps, 20, negative_margin), attacked.left(eps, 50)
    by_noise = attacked.left_by_noise(eps, fifty)
    many = first
    for _ in range(RESTARTS - 1):
        many = attacked.left(eps, 10, among=many)
    counts = [int(each.sum()) for each in (first, twenty, by_margin, fifty, by_noise, many)]
    ten, ce, margin, long, noise, restarts = counts
    return [
        images_finding(
            "margin beats cross entropy",
            ce - margin,
            n,
            0.10,  # honest models: up to 6% of 64 images; the margin is the better loss for many of them
            f"PGD-20 on the cross entropy leaves {ce} of {n} images right, on the margin {margin}: its loss is masked",
        ),
        images_finding(
            "noise beats gradients",
            long - noise,
            n,
            0.02,
            f"random noise breaks {long - noise} of {n} images that PGD-50 cannot: the gradients mislead it",
        ),
        images_finding(
            "more steps help the model",
            long - ten,
            n,
            0.01,
            f"PGD-50 leaves {long} of {n} images right and PGD-10 only {ten}: the gradients mislead it",
        ),
        finding(
            "restarts gain",
            (ten - restarts) / n,
            0.05,
            f"{RESTARTS} restarts of PGD-10 leave {restarts} of {n} images right and one leaves {ten}: one is too weak",
        ),
    ]


def radius_checks(attacked: Attacked, eps: float, twenty: Tensor, classes: int) -> list[Check]:
    """PGD-20 in larger balls, where it must break more; `twenty` (B,) are the images that survived it at eps."""
    n, at_eps = len(attacked.x), int(twenty.sum())
    found = []
    if 2 * eps <= 1.0:
        double = int(attacked.left(2 * eps, 20).sum())
        found.append(
            images_finding(
                "accuracy rises with eps",
                double - at_eps,
                n,
                0.01,
                f"PGD-20 leaves {at_eps} of {n} images right at eps {eps:.3g} and {double} at twice that",
            )
        )
    half, whole = (int(attacked.left(radius, 20).sum()) / n for radius in (0.5, 1.0))
    return [
        *found,
        finding(
            "eps 0.5 survived",
            half,
            2.0 / classes,
            f"{percent(half)} of the images survive PGD-20 with eps 0.5, where all can be made grey: the attack fails",
        ),
        finding(
            "eps 1 survived",
            whole,
            0.05,
            f"{percent(whole)} of the images survive PGD-20 with eps 1, where any image is allowed: the attack fails",
        ),
    ]
