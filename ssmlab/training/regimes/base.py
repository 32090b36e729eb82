"""What all regimes share: a model with its optimiser, and `step`, the one method that differs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.nets.half_precision import HalfPrecisionClassifier
from ssmlab.params import TrainParams
from ssmlab.training.adversary import Loss
from ssmlab.training.attack import Attack
from ssmlab.training.distributed import Group, Trainable
from ssmlab.training.events import BatchResult
from ssmlab.training.sharding import BatchShard
from ssmlab.training.state import Carried


@dataclass(frozen=True, eq=False)
class Learner:
    """A model and everything that its optimiser steps need.

    Attributes:
        generator: for all random numbers of the regime: random starts, noise, projections.
        shard: this rank's rows of a batch.
        image_shape: (C, H, W).
    """

    model: Trainable
    optimizer: AdamW
    schedule: LambdaLR
    generator: torch.Generator
    shard: BatchShard
    image_shape: tuple[int, int, int]

    def descend(self, loss: Tensor) -> None:
        """One optimiser step down the gradient of `loss` ()."""
        self.backward(loss)
        self.update()

    def backward(self, loss: Tensor) -> None:
        """The first half of `descend`: compute every parameter's gradient, replacing earlier ones."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]

    def update(self) -> None:
        """The second half of `descend`: one step with the current gradients, then the next learning rate."""
        self.optimizer.step()
        self.schedule.step()


class Regime(ABC):
    """One way to train on a batch. `ssmlab.params.REGIMES` lists all of them.

    Attributes:
        cross_entropy: (logits, y) to the loss (), with the label smoothing that the params ask for.
    """

    def __init__(self, learner: Learner, params: TrainParams) -> None:
        self.learner = learner
        self.model = learner.model
        self.half_precision = params.precision == "bf16"
        self.cross_entropy = smoothed_cross_entropy(params.label_smoothing or 0.0)

    @abstractmethod
    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:
        """Make one optimiser step on x (B, C, H, W) in [0, 1] and y (B,), with the training attack of that step.

        The model is in training mode before and after. The loop calls this `params.replays` times with every batch, and
        passes each step its own attack because eps may be warming up.
        """

    def target(self) -> nn.Module:
        """The model to attack: the current one, frozen, in the precision that the params ask for."""
        frozen = self.model.freeze()
        return HalfPrecisionClassifier(frozen) if self.half_precision else frozen  # type: ignore[arg-type]

    @property
    def carried(self) -> Mapping[str, Carried]:
        """State that the regime keeps from step to step, by name; it is saved with every epoch."""
        return {}

    def begin_epoch(self, epochs_done: int) -> None:  # noqa: B027  # most regimes treat all epochs alike
        """Called before the first step of every epoch, in a resumed training too."""

    def end_epoch(self, group: Group) -> None:  # noqa: B027  # most regimes keep no state
        """Called by all ranks after the last step of an epoch, to exchange what is in `carried`."""


def smoothed_cross_entropy(smoothing: float) -> Loss:
    """Cross entropy with the fraction `smoothing` of each label spread over all classes (Szegedy et al. 2016, 7)."""
    return partial(F.cross_entropy, label_smoothing=smoothing)
