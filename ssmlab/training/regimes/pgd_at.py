"""PGD adversarial training (Madry et al. 2018): the loss on images that PGD has made against the current model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.params import AdversaryParams, AwpParams
from ssmlab.training.adversary import Loss, pgd
from ssmlab.training.awp import perturbed
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch, correct
from ssmlab.training.optimizer import advance, backward


def pgd_at(
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    adversaries: Iterable[AdversaryParams],
    starts: torch.Generator,
    loss: Loss = F.cross_entropy,
    awp: AwpParams | None = None,
) -> Iterator[Batch]:
    """As `standard`, on adversarial images: `adversaries` gives each batch its own, `starts` draws their random starts.

    The attack runs on a frozen copy of the model, made anew for every batch: its parameters have moved since. It raises
    the plain cross entropy whatever `loss` is. With `awp` the gradient is that at perturbed weights.
    """

    def objective(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = model(x)  # (B, classes)
        return loss(logits, y), logits

    model.train()
    for (x, y), adversary in zip(batches, adversaries, strict=False):  # adversaries never end
        x_adv = pgd(model.freeze(), x, y, adversary, starts)
        with perturbed(model, awp, objective, x_adv, y):
            total, logits = objective(x_adv, y)
            backward(optimizer, total)
        advance(optimizer, schedule)
        yield Batch(loss=total.item(), images=len(y), clean=None, robust=correct(logits, y))
