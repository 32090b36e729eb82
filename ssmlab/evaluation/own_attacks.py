"""Our own attacks: PGD on any loss in either norm, restarts of any attack, and minimum-norm attacks (FMN).

torchattacks has no PGD on the margin and no FMN. Its PGD in L2 adds 1e-10 to the length of the gradient of the batch's
mean loss. This shortens the steps if the model is very certain, and more so for a larger batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.losses import ImageLoss, margins
from ssmlab.evaluation.plan import largest_eps
from ssmlab.evaluation.victim import Victim, is_right


class LossPgd:
    """PGD (Madry et al. 2018) on any loss. In L-inf on the cross entropy, it gives exactly torchattacks' results.

    A step has length `alpha` in the ball's norm: along the sign of the gradient (L-inf), or along the gradient (L2).

    Args:
        loss: the loss to increase, from logits (B, classes) and labels (B,) to (B,).
        seed: seed of the random starts, which also depend on the image and on the number of starts before.
        ball: the allowed perturbations.
        alpha: the step size.
        steps: number of steps.
        random_start: whether to start at a random point of the ball; else at the image.
    """

    def __init__(
        self, victim: Victim, seed: int, loss: ImageLoss, *, ball: Ball, alpha: float, steps: int, random_start: bool
    ) -> None:
        self.victim, self.seed, self.loss = victim, seed, loss
        self.ball, self.alpha, self.steps, self.random_start = ball, alpha, steps, random_start
        self.starts = 0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images (B, C, H, W)."""
        self.starts += 1
        x_adv = self.ball.start(x, self.seed, f"start {self.starts}") if self.random_start else x.clone()
        for _ in range(self.steps):
            here = x_adv.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.loss(self.victim(here), y).sum(), here)
            x_adv = self.ball.project(here.detach() + self.alpha * self.ball.direction(gradient), x)
        return x_adv


class Restarts:
    """Runs an attack several times from different starts, each time on the images that are not broken yet.

    Args:
        attack: from images and labels to adversarial images; every call uses another start.
    """

    def __init__(self, attack: Callable[[Tensor, Tensor], Tensor], victim: Victim, count: int) -> None:
        self.attack, self.victim, self.count = attack, victim, count

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images (B, C, H, W) from the first start that broke the image, else from the last start."""
        x_adv = x.clone()
        left = torch.ones_like(y, dtype=torch.bool)
        for _ in range(self.count):
            rows = left.nonzero().flatten()
            if len(rows) == 0:
                break
            x_adv[rows] = self.attack(x[rows], y[rows])
            left[rows] = self.victim.is_right(x_adv[rows], y[rows])
        return x_adv


class Fmn:
    """FMN (Pintor et al. 2021, Algorithm 1): searches the smallest distance, in the ball's norm, that breaks an image.

    It decreases the margin with steps of L2 length `alpha` inside a ball. The ball's radius shrinks while the image is
    broken and grows while it is not. Step length and rate of the radius follow a cosine schedule. The start is the
    image itself, so no random numbers are needed.

    Attributes:
        distances: (B,) for the batch that was attacked last; infinite if no adversarial image was found.
    """

    ALPHAS = (1.0, 0.01)  # first and last step, as published
    RATES = (0.05, 0.0001)  # first and last relative change of the radius, as published

    def __init__(self, victim: Victim, *, ball: Ball, steps: int) -> None:
        self.victim, self.ball, self.steps = victim, ball, steps
        self.distances = torch.empty(0)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The nearest adversarial images (B, C, H, W) within eps; the clean image if there is none."""
        widest = largest_eps(self.ball.norm, x[0].numel())
        best = torch.full_like(y, math.inf, dtype=torch.float32)
        nearest, radius = x.clone(), torch.zeros_like(best)
        x_adv = x.clone()
        for step in range(self.steps + 1):
            here = x_adv.detach().requires_grad_()
            logits = self.victim(here)
            margin = margins(logits, y)  # (B,)
            (gradient,) = torch.autograd.grad(margin.sum(), here)
            gradient = gradient.nan_to_num()
            distance = self.ball.distance(here.detach(), x)  # (B,)
            broken = ~is_right(logits.detach(), y)
            closer = broken & (distance < best)
            best = torch.where(closer, distance, best)
            nearest[closer] = here.detach()[closer]
            alpha, rate = (self.at(step, ends) for ends in (self.ALPHAS, self.RATES))
            # If nothing is found yet: the distance at which a linear model would be broken. The radius must grow beyond
            # it, because [0, 1] may block a part of the gradient, and because exactly at this distance rounding
            # decides. The published estimate alone can stay constant for ever.
            guess = distance + margin.detach().abs() / self.ball.dual(gradient).clamp(min=1e-12)  # (B,)
            grown = torch.where(best.isinf(), torch.maximum(guess, radius), radius) * (1 + rate)
            radius = torch.where(broken, torch.minimum(radius * (1 - rate), best), grown).clamp(max=widest)
            length = gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
            x_adv = self.ball.project(here.detach() - alpha * gradient / length, x, radius)
        self.distances = best
        return torch.where((best <= self.ball.eps).view(-1, 1, 1, 1), nearest, x)

    def at(self, step: int, ends: tuple[float, float]) -> float:
        """A value that falls from the first to the second end along a cosine."""
        first, last = ends
        return last + (first - last) * (1 + math.cos(math.pi * step / self.steps)) / 2


def distances_of(part: Any) -> Tensor | None:
    """The distances (B,) that a part has found; None if it does not search distances."""
    return part.distances if isinstance(part, Fmn) else None
