"""Standard training: the loss on clean images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.training.adversary import Loss
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch, correct
from ssmlab.training.optimizer import descend


def standard(
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    loss: Loss = F.cross_entropy,
) -> Iterator[Batch]:
    """Train `model` on batches x (B, C, H, W) in [0, 1], y (B,); what each of them showed comes back as it is done."""
    model.train()
    for x, y in batches:
        logits = model(x)  # (B, classes)
        total = loss(logits, y)
        descend(optimizer, schedule, total)
        yield Batch(loss=total.item(), images=len(y), clean=correct(logits, y), robust=None)
