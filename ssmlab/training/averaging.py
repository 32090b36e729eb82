"""Weight averaging: an exponential moving average (EMA) of the weights, which has no effect on the training itself.

    w_avg <- d w_avg + (1 - d) w after every step t = 1, 2, ..., with d = min(decay, (1 + t) / (10 + t))

Averaging weights is from Izmailov et al. 2018; Gowal et al. 2020 use an EMA in adversarial training. d grows as in
TensorFlow's ExponentialMovingAverage: otherwise the initial weights would count for about 1 / (1 - decay) steps.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from ssmlab.nets.classifier import Classifier


class AveragedModel:
    """A copy `model` with the averaged weights of a model in training, and the number of steps averaged so far."""

    def __init__(self, model: Classifier, decay: float):
        self.model = copy.deepcopy(model)  # keeps each parameter's requires_grad: a checkpoint counts those
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: Classifier) -> None:
        """Add the weights that `model` has after one more step to the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for average, parameter in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(parameter, 1.0 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        weights = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        return {"updates": torch.tensor(self.updates), **weights}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.model.load_state_dict({name.removeprefix("model."): state[name] for name in state if name != "updates"})
        self.updates = int(state["updates"])
