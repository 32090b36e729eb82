"""FreeAT (Shafahi et al. 2019, Algorithm 1): one backward pass gives the weights' gradient and the adversary's.

Every batch is replayed m times. The perturbation delta changes between the replays and is kept for the next batch. m
replays cost as much as m steps of standard training, so the number of epochs is divided by m.

Where we differ: the published code takes the gradient with respect to delta through the clipping to [0, 1], so delta
does not change where it would leave the box. We take the gradient at the clipped image. Algorithm 1 has alpha = eps.
The last, smaller batch of an epoch uses and moves only the first rows of delta.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssmlab.params import TrainParams
from ssmlab.training.adversary import project, project_delta, steepest_direction
from ssmlab.training.attack import Attack
from ssmlab.training.distributed import Group
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Learner, Regime
from ssmlab.training.sharding import BatchShard


class Free(Regime):
    """Each step is one replay of a batch; the loop makes `params.replays` of them."""

    def __init__(self, learner: Learner, params: TrainParams) -> None:
        super().__init__(learner, params)
        device = next(learner.model.parameters()).device
        self.delta = CarriedDelta(params.batch_size, learner.image_shape, device, learner.shard)

    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:
        delta = self.delta.of(x)  # (B, C, H, W)
        x_adv = project(x + delta, x, attack.eps, attack.norm).requires_grad_()
        logits = self.model(x_adv)  # (B, classes)
        loss = self.cross_entropy(logits, y)
        self.learner.descend(loss)
        assert x_adv.grad is not None
        moved = delta + attack.alpha * steepest_direction(x_adv.grad, attack.norm)
        delta.copy_(project_delta(moved, attack.eps, attack.norm))
        return BatchResult(loss.item(), len(y), right_clean=None, right_robust=count_right(logits, y))

    @property
    def carried(self) -> Mapping[str, CarriedDelta]:
        return {"delta": self.delta}

    def end_epoch(self, group: Group) -> None:
        self.delta.value = group.gather_rows(self.delta.value, self.delta.shard)


class CarriedDelta:
    """The perturbation that FreeAT keeps from batch to batch: `value` (batch size, C, H, W), zero at first.

    It covers the whole batch; during an epoch only the rows of this rank's `shard` are up to date.
    """

    def __init__(
        self,
        batch_size: int,
        image_shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
        shard: BatchShard | None = None,
    ):
        self.value = torch.zeros(batch_size, *image_shape, device=device)
        self.shard = shard or BatchShard(batch_size)

    def of(self, x: Tensor) -> Tensor:
        """The rows of `value` for the images x (B, C, H, W) of this rank; writing to them writes to `value`."""
        return self.value[self.shard.rows][: len(x)]

    def state_dict(self) -> dict[str, Tensor]:
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.value.copy_(state["value"])
