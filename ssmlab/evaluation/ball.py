"""The ball that attacks search: its norm, its radius, and what an attack does in it.

Training has the same geometry of its own (`ssmlab.training.adversary`): the two share no code, so that an error in one
shows as a disagreement with the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssmlab.evaluation.image_noise import image_noise
from ssmlab.params import Norm

ROUNDING = 1e-6  # float32 rounding of x + delta, a pixel; anything further out of the ball or of [0, 1] is a violation


@dataclass(frozen=True)
class Ball:
    """All images within `eps` of an image, in [0, 1] pixel units; norm: how that distance is measured."""

    eps: float
    norm: Norm = "linf"

    def scaled(self, factor: float) -> Ball:
        """The ball with `factor` times the radius."""
        return replace(self, eps=self.eps * factor)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """How far each image of x_adv (B, C, H, W) is from that of x: (B,)."""
        delta = (x_adv - x).flatten(1)  # (B, P)
        length: Tensor = torch.linalg.vector_norm(delta, ord=2 if self.norm == "l2" else torch.inf, dim=1)  # (B,)
        return length

    def dual(self, gradient: Tensor) -> Tensor:
        """How fast a function of this gradient (B, C, H, W) falls along the steepest direction of length 1: (B,)."""
        order = 2 if self.norm == "l2" else 1
        rate: Tensor = torch.linalg.vector_norm(gradient.flatten(1), ord=order, dim=1)  # (B,)
        return rate

    def direction(self, gradient: Tensor) -> Tensor:
        """The steepest ascent of length 1 in the norm: the sign of a gradient (B, ...), or it over its length."""
        if self.norm == "l2":
            return gradient / column(self.dual(gradient).clamp(min=torch.finfo(gradient.dtype).tiny))
        return gradient.sign()

    def project(self, x_adv: Tensor, x: Tensor, radius: Tensor | None = None) -> Tensor:
        """A point of the ball around x (B, C, H, W) and of [0, 1]: x_adv itself, up to rounding, if it is in both.

        In L2, x_adv goes to the nearest point of the ball, then to the nearest one of the box, which is no further
        from x.

        Args:
            radius: (B,), each image's own; eps for all if it is left out.
        """
        delta = x_adv - x
        limit = torch.as_tensor(self.eps).to(x) if radius is None else column(radius)
        if self.norm == "l2":
            length = column(self.distance(x_adv, x)).clamp(min=1e-12)
            return (x + delta * (limit / length).clamp(max=1.0)).clamp(0.0, 1.0)
        return (x + delta.clamp(-limit, limit)).clamp(0.0, 1.0)

    def contains(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Whether each image of x_adv (B, C, H, W) is in the ball around that of x, up to rounding: bool (B,)."""
        rounding = ROUNDING * x[0].numel() ** 0.5 if self.norm == "l2" else ROUNDING
        return self.distance(x_adv, x) <= self.eps + rounding  # comparisons with NaN are false

    def noise(self, images: Tensor, shape: torch.Size, seed: int, purpose: str) -> Tensor:
        """Random points of the unit ball, `shape` (B, ..., C, H, W), those of each image by `image_noise`.

        L-inf: uniform in the ball. L2: uniform on its surface, where nearly all of the ball's volume is.
        """
        if self.norm == "l2":
            normal = image_noise(images, shape, seed, purpose, draw=torch.randn)
            points = normal.view(-1, *shape[-3:])  # (B * ..., C, H, W)
            return self.direction(points).view(shape)
        return image_noise(images, shape, seed, purpose) * 2 - 1

    def start(self, x: Tensor, seed: int, purpose: str) -> Tensor:
        """A random point of the ball around each image of x (B, C, H, W), cut to [0, 1].

        L-inf: uniform. L2: a uniform direction times a length uniform in [0, eps], as torchattacks has it.
        """
        if self.norm == "l2":
            length = image_noise(x, torch.Size((len(x), 1, 1, 1)), seed, f"length of {purpose}")
            return (x + self.eps * length * self.noise(x, x.shape, seed, purpose)).clamp(0.0, 1.0)
        return (x + (-self.eps + 2 * self.eps * image_noise(x, x.shape, seed, purpose))).clamp(0.0, 1.0)


def pgd_alpha(eps: float, steps: int) -> float:
    """The step size of PGD where nobody chose one: 2.5 eps / steps, as Madry et al. (2018) take it.

    All steps together are longer than the ball is wide (2 eps), so PGD can go anywhere in it from any start.
    """
    return 2.5 * eps / steps


def column(values: Tensor) -> Tensor:
    """One number an image (B,) as (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
