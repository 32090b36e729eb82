"""Computes the exact robust accuracy of linear models.

A model without norms and nonlinearities is affine in the image: logits f(x) = W x + b, W (classes, pixels). In the
L-inf ball of radius eps, clipped to [0, 1], every pixel changes independently between

    low = max(-eps, -x)  and  high = min(eps, 1 - x)

so the smallest margin between label y and another class j is reached with every pixel at one of its two ends:

    min over delta of (f_y - f_j)(x + delta) = (f_y - f_j)(x) + sum over pixels of min(d low, d high),  d = W_y - W_j

An image is robust if and only if this margin is above 0 for every j. No attack can break more images than that: an
attack that seems to do so contains an error, and an attack that breaks fewer images is too weak.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from ssmlab.nets.classifier import Classifier
from ssmlab.params import MIXERS, ModelParams


class AffineMap(NamedTuple):
    """f(x) = weight x + bias for flattened images: weight (classes, pixels), bias (classes,), float64."""

    weight: Tensor
    bias: Tensor


def is_affine(params: ModelParams) -> bool:
    """Whether the logits of a model with these parameters are an affine function of the image."""
    bare = params.norm == "none" and params.enhancement == "none" and params.pointwise == "none"
    return bare and MIXERS[params.mixer].time_invariant and params.output == "linear"


def affine_map(model: Classifier) -> AffineMap:
    """The affine map of a model for which `is_affine` is true, in float64 on the CPU; the model does not change."""
    double = copy.deepcopy(model).cpu().double().eval()
    black = torch.zeros(1, *model.image_shape, dtype=torch.float64)
    with torch.no_grad():
        bias = double(black)[0]
    rows = []
    for label in range(len(bias)):
        black.requires_grad_()
        with torch.enable_grad():
            (row,) = torch.autograd.grad(double(black)[0, label], black)
        rows.append(row.flatten())
    return AffineMap(torch.stack(rows), bias)


def worst_margins(affine: AffineMap, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """The exact smallest margin of label y over all other classes in the ball around each image.

    Args:
        x: images (B, ...) in [0, 1].
        y: labels (B,).
        eps: radius of the L-inf ball, in units of pixels in [0, 1].

    Returns:
        (B,) float64; above 0 if no perturbation changes the decision.
    """
    pixels = x.flatten(1).double()  # (B, P)
    logits = pixels @ affine.weight.t() + affine.bias  # (B, classes)
    low, high = (-pixels).clamp(min=-eps), (1.0 - pixels).clamp(max=eps)
    margins = logits.gather(1, y[:, None]) - logits  # (B, classes)
    for other in range(len(affine.bias)):
        difference = affine.weight[y] - affine.weight[other]  # (B, P)
        margins[:, other] += torch.minimum(difference * low, difference * high).sum(1)
    margins.scatter_(1, y[:, None], torch.inf)
    return margins.min(1).values


def exact_robust_accuracy(affine: AffineMap, x: Tensor, y: Tensor, eps: float) -> float:
    """The share of images that no perturbation in the ball can break; arguments as in `worst_margins`."""
    return float((worst_margins(affine, x, y, eps) > 0).double().mean())
