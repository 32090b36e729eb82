"""YOPO-m-n ("You Only Propagate Once", Zhang et al. 2019, Algorithm 1): n steps of the attack for one propagation.

The classifier is trunk(stem(x)). Each of m full propagations gives p, the gradient to the stem's output h, and the
gradient of all weights; n steps then raise <p, stem(x_adv)> through the stem alone. The weights take one step with the
mean of their m gradients.

Where we differ: the published code has one optimiser for the stem and one for the rest and adds to the stem's gradient
that of <p, stem(x_adv)> where the n steps ended; we have one optimiser over disjoint groups and the gradients of the m
propagations alone, which are the chain rule's. It sums them, we take the mean (which AdamW hardly tells apart). It
starts anywhere in the ball, always; here `adversary.random_start` says so.

Our stem is linear in x, so that the n steps are one direction: for L-inf exactly one step of n alpha.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.params import AdversaryParams
from ssmlab.training.adversary import Loss, Model, ascend, start
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch, correct
from ssmlab.training.optimizer import advance


def yopo(
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    adversaries: Iterable[AdversaryParams],
    starts: torch.Generator,
    propagations: int,
    loss: Loss = F.cross_entropy,
) -> Iterator[Batch]:
    """As `pgd_at`; loss and accuracy are those at the last point that was propagated through the whole model."""
    model.train()
    for (x, y), adversary in zip(batches, adversaries, strict=False):  # adversaries never end
        x_adv = start(x, adversary, starts)
        optimizer.zero_grad()
        for _ in range(propagations):
            h = model.stem(x_adv)  # (B, L, D)
            h.retain_grad()
            logits = model.trunk(h)  # (B, classes)
            total = loss(logits, y)
            (total / propagations).backward()  # type: ignore[no-untyped-call]
            assert h.grad is not None
            x_adv = ascend_stem(model.stem, h.grad, x, x_adv, adversary)
        advance(optimizer, schedule)
        yield Batch(loss=total.item(), images=len(y), clean=None, robust=correct(logits, y))


def ascend_stem(stem: Model, p: Tensor, x: Tensor, x_adv: Tensor, adversary: AdversaryParams) -> Tensor:
    """n = `adversary.steps` steps from `x_adv` that raise <p, stem(x_adv)>, p (B, L, D) held where it is."""
    return ascend(stem, x, p, x_adv, adversary, lambda h, p: (h * p).sum())
