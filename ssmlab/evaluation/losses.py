"""Losses that attacks climb and checks look at, one number an image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The cross entropy of logits (B, classes) with labels y (B,): (B,)."""
    return F.cross_entropy(logits, y, reduction="none")  # (B,)


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of the label minus the largest other one: (B,), positive where the image is right."""
    others = logits.scatter(1, y[:, None], float("-inf"))  # (B, classes)
    return logits.gather(1, y[:, None]).squeeze(1) - others.max(dim=1).values  # (B,)


def negative_margin(logits: Tensor, y: Tensor) -> Tensor:
    """The margin with its sign changed, so that an attack climbs it: (B,)."""
    return -margins(logits, y)  # (B,)
