"""Single-step adversarial training: noise, then one step up the gradient there.

    FGSM with random start (Wong et al. 2020, Algorithm 3): noise in the ball, alpha 1.25 eps, cut back to the ball.
    N-FGSM (de Jorge et al. 2022): noise of 2 eps, alpha eps, never cut back.

Images stay in [0, 1] in both, noise included; what N-FGSM trains on lies in the ball of radius noise eps + alpha. Both
papers are about L-inf; in L2 noise and step are those of `ssmlab.training.adversary`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.params import AdversaryParams, FgsmAtParams
from ssmlab.training.adversary import Loss, Model, direction, input_gradient, project, random_start
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch, correct
from ssmlab.training.optimizer import descend


def fgsm_at(
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    adversaries: Iterable[AdversaryParams],
    starts: torch.Generator,
    settings: FgsmAtParams,
    loss: Loss = F.cross_entropy,
) -> Iterator[Batch]:
    """As `pgd_at`, on images of a single step."""
    model.train()
    for (x, y), adversary in zip(batches, adversaries, strict=False):  # adversaries never end
        x_adv = single_step(model.freeze(), x, y, adversary, settings, starts)
        logits = model(x_adv)  # (B, classes)
        total = loss(logits, y)
        descend(optimizer, schedule, total)
        yield Batch(loss=total.item(), images=len(y), clean=None, robust=correct(logits, y))


def single_step(
    model: Model, x: Tensor, y: Tensor, adversary: AdversaryParams, settings: FgsmAtParams, starts: torch.Generator
) -> Tensor:
    """Noise of `settings.noise` eps, one step of alpha; in the ball of radius eps only if `settings.clip`."""
    eps, norm = float(adversary.eps), adversary.norm
    noisy = random_start(x, settings.noise * eps, starts, norm)
    x_adv = noisy + float(adversary.alpha) * direction(input_gradient(model, noisy, y, F.cross_entropy), norm)
    return project(x_adv, x, eps, norm) if settings.clip else x_adv.clamp(0.0, 1.0)
