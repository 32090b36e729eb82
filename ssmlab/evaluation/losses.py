"""Losses that attacks increase and checks evaluate, one number per image."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

ImageLoss = Callable[[Tensor, Tensor], Tensor]  # from logits (B, classes) and labels (B,) to (B,)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """The cross entropy of logits (B, classes) with labels y (B,): (B,)."""
    return F.cross_entropy(logits, y, reduction="none")  # (B,)


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """The logit of the label minus the largest other logit, (B,); positive if the image is classified correctly."""
    others = logits.scatter(1, y[:, None], float("-inf"))  # (B, classes)
    return logits.gather(1, y[:, None]).squeeze(1) - others.max(dim=1).values  # (B,)


def negative_margin(logits: Tensor, y: Tensor) -> Tensor:
    """The negative margin (B,), a loss that attacks can increase."""
    return -margins(logits, y)  # (B,)
