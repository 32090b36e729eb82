"""The binarisation test: does the attack find an adversarial image that is known to exist?

Zimmermann, Brendel, Tramer and Carlini (2022), "Increasing confidence in adversarial robustness evaluations". For every
image, the test builds a linear classifier on the model's features. It separates noisy copies of the image from one
point at the edge of the ball. That point is adversarial by construction, so a working attack finds an adversarial
image. If the gradients are masked, it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.text import percent
from ssmlab.evaluation.attacks import check_confined
from ssmlab.evaluation.ball import Ball, pgd_alpha
from ssmlab.evaluation.checks.finding import finding
from ssmlab.evaluation.losses import negative_margin
from ssmlab.evaluation.own_attacks import LossPgd
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim

INNER = 199  # number of noisy copies of an image, which must keep their label
INNER_RADIUS = 0.9  # the copies are drawn in a ball with this share of the radius
STEPS, STARTS = 100, 10  # of PGD on the margin, the attack that is tested
LEAST_SUCCESS = 0.90  # of 200 images, normal models reach 96% or more, models with masked gradients 60% or less


class LinearOfFeatures(nn.Module):
    """Two logits per image from features by a separate linear map for each image: weight (B, D) and bias (B,).

    Every batch must consist of these B images in the same order.
    """

    def __init__(self, features: FeatureModel, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.features, self.weight, self.bias = features, weight, bias

    def forward(self, x: Tensor) -> Tensor:
        score = (self.features(x) * self.weight).sum(dim=1) + self.bias  # (B,)
        return torch.stack([-score, score], dim=1)  # (B, 2): the edge point is of class 1


class FeatureModel(nn.Module):
    """From images (B, C, H, W) to the input (B, D) of a model's last linear layer."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise UserError("binarisation: the model has no linear layer; leave the binarisation test out")
        self.last = layers[-1]

    def forward(self, x: Tensor) -> Tensor:
        with noted_input(self.last) as noted:
            self.model(x.to(self.dtype, copy=True))
        if len(noted) != 1 or noted[0].ndim != 2:
            raise UserError("binarisation: the model does not end in a linear layer; leave the binarisation test out")
        return noted[0].float()  # (B, D)


@contextmanager
def noted_input(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Record the layer's inputs in the forward passes inside the block."""
    noted: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: noted.append(inputs[0]))
    try:
        yield noted
    finally:
        handle.remove()


@dataclass(frozen=True)
class Binarised:
    """The result of the test: the attack solved `solved` of the `images` problems that could be built."""

    images: int
    solved: int


def binarisation_test(model: nn.Module, x: Tensor, ball: Ball, seed: int, dtype: torch.dtype) -> Binarised:
    """Plant one adversarial point for each of the images x (B, C, H, W), then attack.

    Args:
        model: the model as the caller gave it, in eval mode, which ends in a linear layer.
        dtype: the dtype of images that the model expects.

    Raises:
        UserError: the model does not end in a linear layer.
    """
    features = FeatureModel(model, dtype)
    problems = [planted(features, image, ball, seed) for image in torch.split(x, 1)]
    made = [row for row, problem in enumerate(problems) if problem is not None]
    if not made:
        return Binarised(0, 0)
    weight, bias = (torch.stack(each) for each in zip(*(p for p in problems if p is not None), strict=True))
    victim = Victim(LinearOfFeatures(features, weight, bias), x.device)
    y = torch.zeros(len(made), dtype=torch.int64, device=x.device)
    solved = torch.zeros_like(y, dtype=torch.bool)
    for start in range(STARTS):
        alpha, elsewhere = pgd_alpha(ball.eps, STEPS), start > 0
        attack = LossPgd(
            victim, seed + start, negative_margin, ball=ball, alpha=alpha, steps=STEPS, random_start=elsewhere
        )
        x_adv, inside = check_confined(x[made], attack(x[made], y), ball)
        solved |= inside & ~victim.is_right(x_adv, y)
    return Binarised(len(made), int(solved.sum()))


@torch.no_grad()
def planted(features: FeatureModel, image: Tensor, ball: Ball, seed: int) -> tuple[Tensor, Tensor] | None:
    """Weight (D,) and bias () that separate noisy copies of an image (1, C, H, W) from a point at the edge of its ball.

    None if the features of the point cannot be separated from those of the copies.
    """
    copies = image.expand(INNER, *image.shape[1:])
    noise = ball.noise(image, torch.Size((1, INNER + 1, *image.shape[1:])), seed, "binarisation")[0]
    inner = (copies + INNER_RADIUS * ball.eps * noise[:-1]).clamp(0.0, 1.0)
    edge = (image + ball.eps * ball.direction(noise[-1:])).clamp(0.0, 1.0)
    given, point = features(torch.cat([image, inner])), features(edge)[0]  # (INNER + 1, D), (D,)
    centred = given - given.mean(dim=0)
    covariance = centred.T @ centred / len(given)  # (D, D)
    ridge = 1e-3 * covariance.diagonal().mean().clamp(min=1e-12)
    weight = torch.linalg.solve(covariance + ridge * torch.eye(len(point)).to(covariance), point - given.mean(dim=0))
    highest, planted_score = (given @ weight).max(), point @ weight
    if not planted_score > highest + 1e-6 * weight.norm() * point.norm():
        return None
    scale = 2 / (planted_score - highest)  # then the scores of the two sides are -1 and 1
    return weight * scale, -scale * (highest + planted_score) / 2


def binarisation_check(model: nn.Module, x: Tensor, ball: Ball, seed: int, dtype: torch.dtype) -> Check:
    """The test as a check: it raises a flag if the attack misses more than 10% of the planted points."""
    found = binarisation_test(model, x, ball, seed, dtype)
    missed = 1.0 - found.solved / found.images if found.images else 1.0
    sentence = (
        f"PGD-{STEPS} finds only {percent(1.0 - missed)} of {found.images} adversarial points that were planted within "
        "eps (binarisation test): the gradients do not lead to them"
        if found.images
        else "binarisation test: the model's features do not separate points at the edge of the ball from points inside"
    )
    return finding("binarisation", missed, 1.0 - LEAST_SUCCESS, sentence)
