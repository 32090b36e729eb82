"""From the params to the regime: which loop goes through the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.params import AdversaryParams, TrainParams
from ssmlab.training.adversary import Loss
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch
from ssmlab.training.regimes.fgsm_at import fgsm_at
from ssmlab.training.regimes.free import CarriedDelta, free
from ssmlab.training.regimes.jacobian import jacobian
from ssmlab.training.regimes.mart import mart
from ssmlab.training.regimes.pgd_at import pgd_at
from ssmlab.training.regimes.standard import standard
from ssmlab.training.regimes.trades import trades
from ssmlab.training.regimes.yopo import yopo


def regime(
    params: TrainParams,
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    adversaries: Iterable[AdversaryParams],
    starts: torch.Generator,
    delta: CarriedDelta | None,
) -> Iterator[Batch]:
    """Train `model` on `batches` as `params.regime` says, with one event and one of `adversaries` for every step.

    `starts` draws all that the regime draws; `delta` is what FreeAT carries, and None in every other regime.
    """
    common = (model, batches, optimizer, schedule)
    loss = smoothed_cross_entropy(params.label_smoothing or 0.0)
    if params.trades is not None:
        return trades(*common, adversaries, starts, params.trades.beta, loss, params.awp)
    if params.mart is not None:
        return mart(*common, adversaries, starts, params.mart.beta)
    if params.free is not None and delta is not None:
        return free(*common, adversaries, delta, params.free.replays, loss)
    if params.yopo is not None:
        return yopo(*common, adversaries, starts, params.yopo.propagations, loss)
    if params.fgsm is not None:
        return fgsm_at(*common, adversaries, starts, params.fgsm, loss)
    if params.jacobian is not None:
        return jacobian(*common, starts, params.jacobian, loss)
    if params.regime == "pgd_at":
        return pgd_at(*common, adversaries, starts, loss, params.awp)
    return standard(*common, loss)


def smoothed_cross_entropy(smoothing: float) -> Loss:
    """The cross entropy of labels that give `smoothing` to all classes together (Szegedy et al. 2016, section 7)."""
    return partial(F.cross_entropy, label_smoothing=smoothing)
