"""Standard training: the loss on clean images."""

from __future__ import annotations

from torch import Tensor

from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Regime


class Standard(Regime):
    """Cross entropy on clean images; there is no attack."""

    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:  # noqa: ARG002
        logits = self.model(x)  # (B, classes)
        loss = self.cross_entropy(logits, y)
        self.learner.descend(loss)
        return BatchResult(loss.item(), len(y), right_clean=count_right(logits, y), right_robust=None)
