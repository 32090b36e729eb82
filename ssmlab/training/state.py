"""The state of a training after an epoch, as rows and named tensors: enough to continue with identical bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.artifacts.history import Row


class StateMismatch(ValueError):
    """A state that does not fit the training that should continue from it."""


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A training after its last complete epoch. With the run's params and data set, everything else follows from it.

    Attributes:
        rows: the history so far; it holds epoch, step, last accuracies and best score.
        tensors: what `Parts.tensors` returned.
    """

    rows: tuple[Row, ...]
    tensors: Mapping[str, Tensor]


class Carried(Protocol):
    """State that is kept from step to step in addition to the model: averaged weights, FreeAT's perturbation."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything to save."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        ...


@dataclass(frozen=True, eq=False)
class Parts:
    """Everything that changes while a model trains.

    Attributes:
        generators: every generator that continues from one epoch to the next, by its purpose.
        carried: everything else that continues; names have no dots.
    """

    model: nn.Module
    optimizer: AdamW
    schedule: LambdaLR
    generators: Mapping[str, torch.Generator]
    carried: Mapping[str, Carried] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Copies of weights, optimiser moments, the schedule's position, generators and `carried`, on the CPU."""
        moments = self.optimizer.state_dict()["state"]
        named = {
            "model": self.model.state_dict(),
            "optimizer": {f"{i}.{name}": value for i, each in moments.items() for name, value in each.items()},
            "schedule": {
                "steps": torch.tensor(self.schedule.last_epoch),
                "lr": torch.tensor(self.schedule.get_last_lr(), dtype=torch.float64),  # (groups,)
            },
            "generator": {purpose: each.get_state() for purpose, each in self.generators.items()},
            "carried": {f"{name}.{k}": v for name, each in self.carried.items() for k, v in each.state_dict().items()},
        }
        return {
            f"{part}.{name}": tensor.detach().to("cpu", copy=True).contiguous()
            for part, each in named.items()
            for name, tensor in each.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy the values of `tensors` into the parts, which must have been made from the same params.

        Raises:
            StateMismatch: a tensor is missing, unknown, or has the wrong shape or type; some parts may have changed.
        """
        try:
            self._restore(tensors)
        except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
            raise StateMismatch(" ".join(str(error).split())) from error

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        saved: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            saved.setdefault(part, {})[rest] = tensor
        unknown = saved.keys() - {"model", "optimizer", "schedule", "generator", "carried"}
        generators = saved.get("generator", {})
        if unknown or generators.keys() != self.generators.keys():
            raise ValueError(f"not the state of this training: {sorted(unknown or generators)}")

        self.model.load_state_dict(saved["model"])
        self._restore_optimizer(saved.get("optimizer", {}))
        lr, steps = saved["schedule"]["lr"].tolist(), int(saved["schedule"]["steps"])
        place = {"last_epoch": steps, "_step_count": steps + 1, "_last_lr": lr}
        self.schedule.load_state_dict({**self.schedule.state_dict(), **place})
        for group, value in zip(self.optimizer.param_groups, lr, strict=True):
            group["lr"] = value
        for purpose, each in self.generators.items():
            each.set_state(generators[purpose])
        kept: dict[str, dict[str, Tensor]] = {name: {} for name in self.carried}
        for key, tensor in saved.get("carried", {}).items():
            name, _, rest = key.partition(".")
            kept[name][rest] = tensor
        for name, carried in self.carried.items():
            carried.load_state_dict(kept[name])

    def _restore_optimizer(self, saved: Mapping[str, Tensor]) -> None:
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in saved.items():
            index, _, kind = name.partition(".")
            if kind != "step" and tensor.shape != parameters[int(index)].shape:
                raise ValueError(f"not the state of this training: optimizer.{name} is {tuple(tensor.shape)}")
            moments.setdefault(int(index), {})[kind] = tensor.clone()  # torch keeps what it is given and writes into it
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
