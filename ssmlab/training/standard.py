"""Standard training: the loss on clean images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.training.events import Batch, correct


def standard(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], optimizer: AdamW, schedule: LambdaLR
) -> Iterator[Batch]:
    """Train `model` on batches x (B, C, H, W) in [0, 1], y (B,); what each of them showed comes back as it is done."""
    model.train()
    for x, y in batches:
        logits = model(x)  # (B, classes)
        loss = F.cross_entropy(logits, y)

        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        yield Batch(loss=loss.item(), images=len(y), clean=correct(logits, y), robust=None)
