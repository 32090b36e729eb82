"""Jacobian regularisation (Hoffman et al. 2019, Algorithm 1): clean cross entropy plus the size of d logits / d x.

    loss = CE(f(x), y) + weight / 2 |J(x)|^2,     |J|^2 = classes E |v J|^2, v uniform on the unit sphere

The expectation is estimated with `projections` random directions v an image, one backward pass each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.params import JacobianParams
from ssmlab.training.adversary import Loss
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch, correct
from ssmlab.training.optimizer import descend
from ssmlab.training.sharding import normal


def jacobian(
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    directions: torch.Generator,
    settings: JacobianParams,
    loss: Loss = F.cross_entropy,
) -> Iterator[Batch]:
    """As `standard`, with the penalty; `directions` draws the projections."""
    model.train()
    for x, y in batches:
        x = x.detach().requires_grad_()
        logits = model(x)  # (B, classes)
        total = loss(logits, y) + 0.5 * settings.weight * squared_norm(logits, x, directions, settings.projections)
        descend(optimizer, schedule, total)
        yield Batch(loss=total.item(), images=len(y), clean=correct(logits, y), robust=None)


def squared_norm(logits: Tensor, x: Tensor, directions: torch.Generator, projections: int) -> Tensor:
    """An unbiased estimate of |d logits / d x|^2 (Frobenius), mean over the batch, that can be differentiated again.

    Args:
        logits: (B, classes), each row computed from its own row of `x`.
        x: (B, ...), requires a gradient.
    """
    batch, classes = logits.shape
    total = logits.new_zeros(())
    for _ in range(projections):
        v = normal((batch, classes), directions).to(logits)
        (product,) = torch.autograd.grad(logits, x, F.normalize(v, dim=1), create_graph=True)  # (B, ...)
        total = total + classes * product.square().sum() / (projections * batch)
    return total
