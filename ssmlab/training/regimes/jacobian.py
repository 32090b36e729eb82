"""Jacobian regularisation (Hoffman et al. 2019, Algorithm 1): clean cross entropy plus a penalty on d logits / d x.

    loss = CE(f(x), y) + weight / 2 |J(x)|^2,     |J|^2 = classes E |v J|^2, v uniform on the unit sphere

The expectation is estimated with `projections` random directions v per image, one backward pass each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.params import TrainParams
from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Learner, Regime
from ssmlab.training.sharding import draw_normal


class Jacobian(Regime):
    """Standard training with the penalty above; there is no attack."""

    def __init__(self, learner: Learner, params: TrainParams) -> None:
        super().__init__(learner, params)
        assert params.jacobian is not None
        self.settings = params.jacobian

    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:  # noqa: ARG002
        x = x.detach().requires_grad_()
        logits = self.model(x)  # (B, classes)
        size = squared_norm(logits, x, self.learner.generator, self.settings.projections)
        loss = self.cross_entropy(logits, y) + 0.5 * self.settings.weight * size
        self.learner.descend(loss)
        return BatchResult(loss.item(), len(y), right_clean=count_right(logits, y), right_robust=None)


def squared_norm(logits: Tensor, x: Tensor, generator: torch.Generator, projections: int) -> Tensor:
    """An unbiased, differentiable estimate of |d logits / d x|^2 (Frobenius norm), mean over the batch.

    Args:
        logits: (B, classes), each row computed from its own row of `x`.
        x: (B, ...), requires a gradient.
        generator: draws the directions.
    """
    batch, classes = logits.shape
    total = logits.new_zeros(())
    for _ in range(projections):
        v = draw_normal((batch, classes), generator).to(logits)
        (product,) = torch.autograd.grad(logits, x, F.normalize(v, dim=1), create_graph=True)  # (B, ...)
        total = total + classes * product.square().sum() / (projections * batch)
    return total
