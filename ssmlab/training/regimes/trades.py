"""TRADES (Zhang et al. 2019, Algorithm 1): clean cross entropy plus beta times how far an attack moves p.

    loss = CE(f(x), y) + beta KL(p(x) || p(x_adv)),     x_adv raises the same KL inside the ball

Where we differ: the published code computes p(x) anew in every step of the attack, we once a batch, for it is constant
there; the published start x + 0.001 N(0, 1) may lie outside of [0, 1] and of a small ball, ours is projected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.params import AdversaryParams, AwpParams
from ssmlab.training.adversary import Loss, Model, ascend, project
from ssmlab.training.awp import perturbed
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch, correct
from ssmlab.training.optimizer import advance, backward
from ssmlab.training.sharding import normal

NOISE = 0.001  # of the published code: away from x, where the KL has its minimum and so no gradient


def trades(
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    adversaries: Iterable[AdversaryParams],
    starts: torch.Generator,
    beta: float,
    loss: Loss = F.cross_entropy,
    awp: AwpParams | None = None,
) -> Iterator[Batch]:
    """As `pgd_at`, on clean and adversarial images together; `loss` is that of the clean ones, with `awp` as there."""

    def objective(x: Tensor, y: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        clean, attacked = model(x), model(x_adv)  # (B, classes) each
        return loss(clean, y) + beta * divergence(attacked, clean.softmax(1)), clean, attacked

    model.train()
    for (x, y), adversary in zip(batches, adversaries, strict=False):  # adversaries never end
        x_adv = trades_attack(model.freeze(), x, adversary, starts)
        with perturbed(model, awp, objective, x, y, x_adv):
            total, clean, attacked = objective(x, y, x_adv)
            backward(optimizer, total)
        advance(optimizer, schedule)
        yield Batch(loss=total.item(), images=len(y), clean=correct(clean, y), robust=correct(attacked, y))


def trades_attack(model: Model, x: Tensor, adversary: AdversaryParams, starts: torch.Generator) -> Tensor:
    """Images in the adversary's ball whose distribution is far from that of x (B, ...)."""
    with torch.no_grad():
        p = model(x).softmax(1)  # (B, classes)
    noise = normal(x.shape, starts, x.dtype).to(x.device)
    near = project(x + NOISE * noise, x, float(adversary.eps), adversary.norm)
    return ascend(model, x, p, near, adversary, divergence)


def divergence(logits: Tensor, p: Tensor) -> Tensor:
    """KL(p || softmax(logits)), both (B, classes), mean over the batch."""
    return F.kl_div(logits.log_softmax(1), p, reduction="batchmean")
