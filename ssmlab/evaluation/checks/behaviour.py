"""Checks whether the model is a fixed function from one image to logits. Otherwise attack results mean nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssmlab.evaluation.attacks import forked_generators
from ssmlab.evaluation.checks.finding import finding
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim


@torch.no_grad()
def behaviour_checks(victim: Victim, live: nn.Module, x: Tensor) -> list[Check]:
    """The checks that need only forward passes.

    Args:
        victim: the attacked model, which may be frozen.
        live: the model as the caller gave it.
        x: images (B, C, H, W) in [0, 1].
    """
    images, buffers = x.to(victim.dtype, copy=True), [(buffer, buffer.clone()) for buffer in live.buffers()]
    with forked_generators():
        first, second = live(images), live(x.to(victim.dtype, copy=True))
    scale = float(first.float().abs().nan_to_num(nan=0.0, posinf=1.0).mean().clamp(min=1e-12))
    random = distance(first, second) / scale
    changed = sum(not torch.equal(buffer, before) for buffer, before in buffers)
    changed += not torch.equal(images, x.to(victim.dtype))
    sums = first.float().sum(dim=1)  # (B,)
    found = [
        finding("random", random, 1e-4, "random: two forward passes on the same images give different logits"),
        finding("changes its input or state", changed, 0, "a forward pass changes the model's buffers or its input"),
        finding(
            "probabilities",
            float((first >= 0).all() and ((sums - 1.0).abs() < 1e-4).all()),
            0,
            "the model returns probabilities, not logits: gradients vanish on images that it classifies with certainty",
        ),
    ]
    # A random model would fail every other comparison too, which would only repeat the finding.
    return found if random > 1e-4 else found + other_ways_to_ask(victim, live, x, first, scale)


def other_ways_to_ask(victim: Victim, live: nn.Module, x: Tensor, logits: Tensor, scale: float) -> list[Check]:
    """Compare the logits (B, classes) of the whole batch with those of single images and of the frozen model."""
    rounding = 8 * torch.finfo(logits.dtype).eps
    with forked_generators():
        alone = torch.cat([live(x[i : i + 1].to(victim.dtype, copy=True)) for i in range(len(x))])  # (B, classes)
        attacked = victim(x)
    found = [
        finding(
            "batch-dependent",
            distance(logits, alone) / scale,
            max(1e-3, rounding),
            "an image's logits depend on the other images of its batch",
        )
    ]
    if victim.model is not live:
        found.append(
            finding(
                "frozen differs",
                distance(logits, attacked) / scale,
                max(1e-4, rounding),
                "the frozen form of the model, which is attacked, gives other logits than the model itself",
            )
        )
    return found


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference; equal infinities and two NaN count as equal, NaN and a number as infinitely different."""
    same = (a == b) | (a.isnan() & b.isnan())
    return float((a.float() - b.float()).abs().nan_to_num(nan=float("inf")).masked_fill(same, 0.0).max())
