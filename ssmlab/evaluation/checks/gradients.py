"""Are the gradients that attacks follow those of the function that is judged?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.core.text import percent
from ssmlab.evaluation.checks.finding import finding
from ssmlab.evaluation.losses import cross_entropy, margins
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim

DIRECTIONS = 8
STEP = 0.02  # long enough that a model of quantised images moves, short enough that an honest one is nearly straight
SATURATED = 1e-6  # cross entropy below which float32 leaves next to nothing of its gradient


def gradient_checks(victim: Victim, x: Tensor, y: Tensor, generator: torch.Generator) -> list[Check]:
    """The checks on gradients, on images x (B, C, H, W) that the model classifies correctly, as y (B,)."""
    n = len(x)
    losses = F.cross_entropy(logits_of(victim, x), y, reduction="none")  # (B,)
    of_loss = input_gradients(victim, x, y, cross_entropy)
    of_margin = input_gradients(victim, x, y, margins)
    broken = sum(int((~each.isfinite()).flatten(1).any(dim=1).sum()) for each in (of_loss, of_margin))
    zeros = {
        "cross entropy": int((of_loss == 0).flatten(1).all(dim=1).sum()) / n,
        "margin": int((of_margin == 0).flatten(1).all(dim=1).sum()) / n,
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
            f"the cross entropy is below {SATURATED:g} on {percent(sure)} of the images: rounding eats its gradient",
        )
    )
    if not broken:
        error = slope_error(victim, x, y, of_margin, generator)
        found.append(
            finding(
                "gradient is not the slope",
                error,
                0.5,
                f"the gradient of the margin is {percent(error)} away from its slope over steps of {STEP}",
            )
        )
    return found


@torch.no_grad()
def slope_error(victim: Victim, x: Tensor, y: Tensor, gradients: Tensor, generator: torch.Generator) -> float:
    """How far gradients (B, C, H, W) are from central differences: the error over the differences, as L2 norms.

    The directions are random signs, the same for all images.
    """
    differences, predictions = [], []
    for _ in range(DIRECTIONS):
        signs = torch.randint(0, 2, x.shape[1:], generator=generator).to(x) * 2 - 1  # (C, H, W)
        ahead, behind = (margins(victim(x + sign * STEP * signs), y) for sign in (1, -1))
        differences.append((ahead - behind) / (2 * STEP))  # (B,)
        predictions.append((gradients * signs).flatten(1).sum(dim=1))  # (B,)
    slopes, expected = torch.stack(differences), torch.stack(predictions)  # (directions, B)
    return float((slopes - expected).norm() / slopes.norm().clamp(min=1e-12))


def input_gradients(victim: Victim, x: Tensor, y: Tensor, loss: object) -> Tensor:
    """The gradient of loss(logits, y) (B,) to every image: (B, C, H, W)."""
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(victim(x), y).sum(), x)  # type: ignore[operator]
    return gradient


@torch.no_grad()
def logits_of(victim: Victim, x: Tensor) -> Tensor:
    logits: Tensor = victim(x)
    return logits
