"""MART (Wang et al. 2020, Algorithm 1): adversarial training that minds the misclassified images.

    loss = BCE(f(x_adv), y) + beta KL(p(x) || p(x_adv)) (1 - p_y(x)),
    BCE  = -log p_y(x_adv) - log(1 - max_{k != y} p_k(x_adv))

Where we differ: the attack starts where `adversary` says (the published code: x + 0.001 N(0, 1)); both logarithms are
computed from logits, so that neither needs the published code's small constants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.params import AdversaryParams
from ssmlab.training.adversary import pgd
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch, correct
from ssmlab.training.optimizer import descend


def mart(
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    adversaries: Iterable[AdversaryParams],
    starts: torch.Generator,
    beta: float,
) -> Iterator[Batch]:
    """As `pgd_at`, with MART's loss on clean and adversarial images."""
    model.train()
    for (x, y), adversary in zip(batches, adversaries, strict=False):  # adversaries never end
        x_adv = pgd(model.freeze(), x, y, adversary, starts)
        clean, attacked = model(x), model(x_adv)  # (B, classes) each
        total = mart_loss(clean, attacked, y, beta)
        descend(optimizer, schedule, total)
        yield Batch(loss=total.item(), images=len(y), clean=correct(clean, y), robust=correct(attacked, y))


def mart_loss(clean: Tensor, attacked: Tensor, y: Tensor, beta: float) -> Tensor:
    """The loss above for clean and attacked logits (B, classes), y (B,); mean over the batch."""
    p, q = clean.log_softmax(1), attacked.log_softmax(1)  # (B, classes) each
    true = F.one_hot(y, p.shape[1]).bool()
    runner_up = F.one_hot(attacked.masked_fill(true, -torch.inf).argmax(1), p.shape[1]).bool()
    boosted = -q[true] - q.masked_fill(runner_up, -torch.inf).logsumexp(1)  # (B,)
    moved = (p.exp() * (p - q)).sum(1)  # (B,)
    return (boosted + beta * moved * (1.0 - p[true].exp())).mean()
