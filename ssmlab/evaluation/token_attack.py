"""An attack that may change only one patch of an image, that is, one token of a model with such patches.

Su et al. (2019) changed one pixel to any value and searched for its position with an evolutionary algorithm. Here there
are few positions. So all of them are tried with one step, and PGD on the margin continues at the best positions, or at
all of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssmlab.evaluation.ball import Ball, column, pgd_alpha
from ssmlab.evaluation.losses import margins
from ssmlab.evaluation.token_map import patch_grid
from ssmlab.evaluation.victim import Victim, is_right
from ssmlab.params import AttackSpec, TokenParams


def searched_ball(spec: AttackSpec, ball: Ball) -> Ball:
    """The ball that an attack searches: the study's ball, or for a token attack its own eps or all of [0, 1]."""
    if not isinstance(spec, TokenParams):
        return ball
    norm, eps = spec.searched(ball.norm)
    return Ball(float(eps), norm)


def patch_masks(patch: int, image_shape: torch.Size) -> Tensor:
    """For every position, row by row, the pixels of an image (C, H, W) in its patch: bool (P, 1, H, W)."""
    rows, columns = patch_grid(patch, image_shape)
    numbers = torch.arange(rows * columns).view(rows, columns)
    of_pixel = numbers.repeat_interleave(patch, dim=0).repeat_interleave(patch, dim=1)  # (H, W)
    masks: Tensor = of_pixel == torch.arange(rows * columns).view(-1, 1, 1, 1)  # (P, 1, H, W)
    return masks


def patches_changed(x_adv: Tensor, x: Tensor, patch: int) -> Tensor:
    """The number of patches in which each image of x_adv (B, C, H, W) differs from the same image of x: int64 (B,)."""
    rows, columns = patch_grid(patch, x.shape[1:])
    differs = (x_adv != x).view(len(x), -1, rows, patch, columns, patch)  # (B, C, rows, p, columns, p)
    changed: Tensor = differs.any(dim=5).any(dim=3).any(dim=1).sum(dim=(1, 2))  # (B,)
    return changed


class TokenAttack:
    """One step at every position in both directions of the gradient, then PGD on the margin at the best positions.

    An image counts as broken as soon as the model classifies one of the visited points wrongly.

    Args:
        ball: the allowed values of the patch.
        patch, positions, steps: as in `TokenParams`; a step has the length 2.5 eps / steps, as in "pgd-N".

    Attributes:
        broken: for the batch that was attacked last, the number of images broken at each position, int64 (P,); None if
            PGD tries only some positions, because this gives no map.
    """

    def __init__(self, victim: Victim, seed: int, *, ball: Ball, patch: int, positions: int | str, steps: int) -> None:
        self.victim, self.seed, self.ball = victim, seed, ball
        self.patch, self.positions, self.steps = patch, positions, steps
        self.broken: Tensor | None = None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial images (B, C, H, W): the first that broke each image; the clean image if nothing did."""
        masks = patch_masks(self.patch, x.shape[1:]).to(x.device)  # (P, 1, H, W)
        everywhere = self.positions == "all"
        count = len(masks) if everywhere else min(int(self.positions), len(masks))
        x_adv, fallen = x.clone(), torch.zeros(len(x), len(masks), dtype=torch.bool, device=x.device)
        lowest = self.screen(x, y, masks, x_adv, fallen)  # (B, P)
        ranked = lowest.argsort(dim=1, stable=True)[:, :count]  # (B, count)
        for place in range(count):
            position = torch.full_like(y, place) if everywhere else ranked[:, place]  # (B,)
            # One position is enough to know that an image can be broken, but a map needs all positions.
            held = ~(fallen[:, place] if everywhere else fallen.any(dim=1))  # (B,)
            rows = held.nonzero().flatten()
            if len(rows):
                found, broken = self.pgd(x[rows], y[rows], masks[position[rows]])
                keep(x_adv, fallen, rows[broken], position[rows][broken], found[broken])
        self.broken = fallen.sum(dim=0) if everywhere else None
        return x_adv

    def screen(self, x: Tensor, y: Tensor, masks: Tensor, x_adv: Tensor, fallen: Tensor) -> Tensor:
        """The lowest margin after one step of length eps at each position, along and against the gradient: (B, P).

        Broken images are recorded in x_adv (B, C, H, W) and fallen (B, P).
        """
        gradient = self.gradient(x, y)[1]
        lowest = torch.full(fallen.shape, float("inf"), device=x.device)  # (B, P)
        everyone = torch.arange(len(x), device=x.device)
        for number, mask in enumerate(masks):
            for sign in (-1.0, 1.0):
                point = self.moved(x, gradient, sign * self.ball.eps, mask, x)
                with torch.no_grad():
                    logits = self.victim(point)
                margin = margins(logits, y).nan_to_num(nan=float("-inf"))  # (B,)
                lowest[:, number] = torch.minimum(lowest[:, number], margin)
                rows = everyone[~is_right(logits, y) & ~fallen[:, number]]
                keep(x_adv, fallen, rows, torch.full_like(rows, number), point[rows])
        return lowest

    def pgd(self, x: Tensor, y: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """PGD inside masks (B, 1, H, W): its last points (B, C, H, W), and whether they break the images, bool (B,)."""
        start = self.ball.start(x, self.seed, "start 1")
        x_adv = torch.where(mask, start, x)  # (B, C, H, W)
        broken = torch.zeros_like(y, dtype=torch.bool)
        for step in range(self.steps + 1):
            rows = (~broken).nonzero().flatten()
            if len(rows) == 0:
                break
            right, gradient = self.gradient(x_adv[rows], y[rows], wanted=step < self.steps)
            broken[rows] = ~right
            moved = self.moved(x_adv[rows], gradient, -pgd_alpha(self.ball.eps, self.steps), mask[rows], x[rows])
            x_adv[rows] = torch.where(column(right), moved, x_adv[rows])
        return x_adv, broken

    def gradient(self, x: Tensor, y: Tensor, wanted: bool = True) -> tuple[Tensor, Tensor]:
        """Whether images x (B, C, H, W) are right, bool (B,), and the gradient of their margin (0 if not wanted)."""
        here = x.detach().requires_grad_(wanted)
        with torch.set_grad_enabled(wanted):
            logits = self.victim(here)
        right = is_right(logits.detach(), y)
        if not wanted:
            return right, torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(margins(logits, y).sum(), here)
        return right, gradient.nan_to_num()

    def moved(self, here: Tensor, gradient: Tensor, length: float, mask: Tensor, x: Tensor) -> Tensor:
        """A step along the gradient inside the mask, projected into the ball around x and into [0, 1]: (B, C, H, W)."""
        there = self.ball.project(here + length * self.ball.direction(gradient * mask), x)
        return torch.where(mask, there, x)


def keep(x_adv: Tensor, fallen: Tensor, rows: Tensor, positions: Tensor, found: Tensor) -> None:
    """Record images `rows` as broken at their positions; the first adversarial image of each is kept."""
    first = ~fallen[rows].any(dim=1)
    x_adv[rows[first]] = found[first]
    fallen[rows, positions] = True


def broken_by_position(part: Any) -> Tensor | None:
    """The number of images that a part has broken at each position (P,); None for parts without positions."""
    return part.broken if isinstance(part, TokenAttack) else None
