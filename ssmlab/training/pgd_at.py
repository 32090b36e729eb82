"""PGD adversarial training (Madry et al. 2018): the loss on images that PGD has made against the current model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.adversary import pgd
from ssmlab.nets.classifier import Classifier
from ssmlab.params import AdversaryParams
from ssmlab.training.events import Batch, correct


def pgd_at(
    model: Classifier,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    adversaries: Iterable[AdversaryParams],
    starts: torch.Generator,
) -> Iterator[Batch]:
    """As `standard`, on adversarial images: `adversaries` gives each batch its own, `starts` draws their random starts.

    The attack runs on a frozen copy of the model, made anew for every batch: its parameters have moved since.
    """
    model.train()
    for (x, y), adversary in zip(batches, adversaries, strict=False):  # adversaries never end
        x_adv = pgd(model.freeze(), x, y, adversary, starts)
        logits = model(x_adv)  # (B, classes)
        loss = F.cross_entropy(logits, y)

        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        yield Batch(loss=loss.item(), images=len(y), clean=None, robust=correct(logits, y))
