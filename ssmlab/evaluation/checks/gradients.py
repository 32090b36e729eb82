"""Checks whether the gradients that attacks follow are the true slopes of the model."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmlab.core.text import percent
from ssmlab.evaluation.checks.finding import finding
from ssmlab.evaluation.losses import ImageLoss, cross_entropy, margins
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim

DIRECTIONS = 8
# Large enough to change the output of a model that quantises images, and so small that normal models are nearly linear.
STEP = 0.02
SATURATED = 1e-6  # below this cross entropy, float32 rounding leaves almost nothing of the gradient


def gradient_checks(victim: Victim, x: Tensor, y: Tensor, generator: torch.Generator) -> list[Check]:
    """The checks on gradients.

    Args:
        x: images (B, C, H, W) that the model classifies correctly.
        y: their labels (B,).
    """
    n = len(x)
    losses = cross_entropy(victim(x), y)  # (B,)
    loss_gradients = input_gradients(victim, x, y, cross_entropy)
    margin_gradients = input_gradients(victim, x, y, margins)
    broken = sum(int((~each.isfinite()).flatten(1).any(dim=1).sum()) for each in (loss_gradients, margin_gradients))
    zeros = {
        "cross entropy": int((loss_gradients == 0).flatten(1).all(dim=1).sum()) / n,
        "margin": int((margin_gradients == 0).flatten(1).all(dim=1).sum()) / n,
    }
    sure = int((losses < SATURATED).sum()) / n
    found = [finding("non-finite gradient", broken, 0, f"the gradient of {broken} images is not finite")]
    found += [
        finding(
            f"zero gradient of the {name}",
            share,
            0.01,
            f"the gradient of the {name} is exactly 0 on {percent(share)} of the images: attacks cannot follow it",
        )
        for name, share in zeros.items()
    ]
    found.append(
        finding(
            "saturated",
            sure,
            0.05,
            f"the cross entropy is below {SATURATED:g} on {percent(sure)} of the images: rounding hides its gradient",
        )
    )
    if not broken:
        error = slope_error(victim, x, y, margin_gradients, generator)
        found.append(
            finding(
                "gradient is not the slope",
                error,
                0.5,
                f"the gradient of the margin differs by {percent(error)} from its slope over steps of {STEP}",
            )
        )
    return found


@torch.no_grad()
def slope_error(victim: Victim, x: Tensor, y: Tensor, gradients: Tensor, generator: torch.Generator) -> float:
    """The relative L2 error of gradients (B, C, H, W) against central differences.

    The directions are vectors of random signs, the same for all images.
    """
    differences, predictions = [], []
    for _ in range(DIRECTIONS):
        signs = torch.randint(0, 2, x.shape[1:], generator=generator).to(x) * 2 - 1  # (C, H, W)
        ahead, behind = (margins(victim(x + sign * STEP * signs), y) for sign in (1, -1))
        differences.append((ahead - behind) / (2 * STEP))  # (B,)
        predictions.append((gradients * signs).flatten(1).sum(dim=1))  # (B,)
    slopes, expected = torch.stack(differences), torch.stack(predictions)  # (directions, B)
    return float((slopes - expected).norm() / slopes.norm().clamp(min=1e-12))


def input_gradients(victim: Victim, x: Tensor, y: Tensor, loss: ImageLoss) -> Tensor:
    """The gradient of loss(logits, y) (B,) with respect to every image: (B, C, H, W)."""
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(victim(x), y).sum(), x)
    return gradient
