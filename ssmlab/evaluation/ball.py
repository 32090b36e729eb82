"""The ball of allowed perturbations: its norm, its radius, and its projection, steps and random points.

Training has its own implementation of the same geometry (`ssmlab.training.adversary`). The two share no code, so an
error in one of them shows as a disagreement between them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssmlab.evaluation.image_noise import image_noise
from ssmlab.params import Norm

ROUNDING = 1e-6  # float32 rounding of x + delta per pixel; an image further outside the ball or [0, 1] is invalid


@dataclass(frozen=True)
class Ball:
    """All images within distance `eps` of an image, in units of pixels in [0, 1]; `norm` defines the distance."""

    eps: float
    norm: Norm = "linf"

    def scaled(self, factor: float) -> Ball:
        """The ball with `factor` times the radius."""
        return replace(self, eps=self.eps * factor)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The distance of each image of x_adv (B, C, H, W) from the same image of x: (B,)."""
        delta = (x_adv - x).flatten(1)  # (B, P)
        length: Tensor = torch.linalg.vector_norm(delta, ord=2 if self.norm == "l2" else torch.inf, dim=1)  # (B,)
        return length

    def dual(self, gradient: Tensor) -> Tensor:
        """The dual norm (B,) of gradients (B, C, H, W): the rate of change along the steepest direction of length 1."""
        order = 2 if self.norm == "l2" else 1
        rate: Tensor = torch.linalg.vector_norm(gradient.flatten(1), ord=order, dim=1)  # (B,)
        return rate

    def direction(self, gradient: Tensor) -> Tensor:
        """The steepest ascent direction of length 1 for gradients (B, ...): the sign in L-inf, unit gradient in L2."""
        if self.norm == "l2":
            # a power of two, so that no square underflows in the gradient of a very sure model; all else keeps its bits
            powers = torch.frexp(column(gradient.flatten(1).abs().amax(dim=1))).exponent.clamp(-126, 126)
            scaled = torch.ldexp(gradient, -powers)
            return scaled / column(self.dual(scaled).clamp(min=torch.finfo(gradient.dtype).tiny))
        return gradient.sign()

    def project(self, x_adv: Tensor, x: Tensor, radius: Tensor | None = None) -> Tensor:
        """Project x_adv (B, C, H, W) into the ball around x (B, C, H, W) and into [0, 1].

        A point inside both does not change, up to rounding. In L2, x_adv is projected to the nearest point of the ball
        and then to the nearest point of [0, 1], which is not further from x.

        Args:
            radius: (B,), a radius for each image; None means eps for all images.
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
        """Random points of the unit ball with shape `shape` (B, ..., C, H, W), drawn for each image by `image_noise`.

        L-inf: uniform in the ball. L2: uniform on its surface, near which almost all of the ball's volume lies.
        """
        if self.norm == "l2":
            normal = image_noise(images, shape, seed, purpose, draw=torch.randn)
            points = normal.view(-1, *shape[-3:])  # (B * ..., C, H, W)
            return self.direction(points).view(shape)
        return image_noise(images, shape, seed, purpose) * 2 - 1

    def start(self, x: Tensor, seed: int, purpose: str) -> Tensor:
        """A random point of the ball around each image of x (B, C, H, W), clipped to [0, 1].

        L-inf: uniform. L2: a uniform direction times a uniform length in [0, eps], as in torchattacks.
        """
        if self.norm == "l2":
            length = image_noise(x, torch.Size((len(x), 1, 1, 1)), seed, f"length of {purpose}")
            return (x + self.eps * length * self.noise(x, x.shape, seed, purpose)).clamp(0.0, 1.0)
        return (x + (-self.eps + 2 * self.eps * image_noise(x, x.shape, seed, purpose))).clamp(0.0, 1.0)


def pgd_alpha(eps: float, steps: int) -> float:
    """The default step size of PGD: 2.5 eps / steps, as in Madry et al. (2018).

    All steps together are longer than the width of the ball (2 eps), so PGD can reach any point from any start.
    """
    return 2.5 * eps / steps


def column(values: Tensor) -> Tensor:
    """One number per image, (B,), reshaped to (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
