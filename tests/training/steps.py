"""Regimes for tests: made on any model, and driven over batches without the training loop."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

import torch
from torch import Tensor, nn

from ssmlab.params import TrainParams
from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult
from ssmlab.training.optimizer import make_optimizer, make_schedule
from ssmlab.training.regimes import make_regime
from ssmlab.training.regimes.base import Learner, Regime
from ssmlab.training.sharding import BatchShard

SHAPE = (1, 14, 14)


def regime_of(
    params: TrainParams, model: nn.Module, generator: torch.Generator | None = None, batch_size: int = 8
) -> Regime:
    """The regime of `params` on `model`, with its optimiser; a schedule of 20 steps, a generator at 0 by default."""
    optimizer = make_optimizer(model, params.optimizer)
    schedule = make_schedule(optimizer, params.optimizer, 20)
    generator = generator or torch.Generator().manual_seed(0)
    learner = Learner(model, optimizer, schedule, generator, BatchShard(batch_size), SHAPE)  # type: ignore[arg-type]
    return make_regime(learner, params.model_copy(update={"batch_size": batch_size}))


def run(regime: Regime, data: Iterable[tuple[Tensor, Tensor]], attack: Attack, replays: int = 1) -> list[BatchResult]:
    """The results of the steps on every batch, as the loop makes them."""
    regime.model.train()
    return [regime.step(x, y, attack) for x, y in data for _ in repeat(None, replays)]
