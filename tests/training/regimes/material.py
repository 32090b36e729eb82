"""Batches, settings and small models for the tests of the regimes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ssmlab.params import TrainParams
from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult
from ssmlab.training.optimizer import make_optimizer, make_schedule

SHAPE = (1, 14, 14)
CLASSES = 3
SLACK = 1e-6  # x + eps is rounded
SECTIONS: dict[str, dict[str, Any]] = {
    "standard": {},
    "pgd_at": {},
    "trades": {"trades": {"beta": 6.0}},
    "mart": {"mart": {"beta": 5.0}},
    "free": {"free": {"replays": 2}, "adversary": {"alpha": 0.1, "steps": 1, "random_start": False}},
    "yopo": {"yopo": {"propagations": 2}},
    "fgsm": {"fgsm": {"noise": 1.0, "clip": True}, "adversary": {"alpha": 0.125, "steps": 1}},
    "jacobian": {"jacobian": {"weight": 0.1, "projections": 2}},
    "pgd_at with awp": {"awp": {"gamma": 0.01}},
    "trades with awp": {"trades": {"beta": 6.0}, "awp": {"gamma": 0.01}},
}


def attack_of(eps: float = 0.1, alpha: float = 0.025, steps: int = 3, start: bool = True, norm: Any = "linf") -> Attack:
    return Attack(eps, alpha, steps, norm, start)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(count: int = 3, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    draw = seeded(7)
    result = []
    for i in range(count):
        batch = size if i < count - 1 else size - 3  # the last one is smaller
        x = torch.rand(batch, *SHAPE, generator=draw)
        x[0], x[1] = 0.0, 1.0
        result.append((x, torch.randint(CLASSES, (batch,), generator=draw)))
    return result


def settings_of(base: TrainParams, name: str, **changes: Any) -> TrainParams:
    """The params of one of SECTIONS; `changes` are put over its own settings."""
    raw = base.plain() | {"regime": name.split()[0]} | {k: v for k, v in SECTIONS[name].items() if k != "adversary"}
    raw["adversary"] = raw["adversary"] | SECTIONS[name].get("adversary", {})
    return TrainParams.model_validate(raw | changes)


def optimizer_of(model: nn.Module, base: TrainParams) -> tuple[Any, Any]:
    optimizer = make_optimizer(model, base.optimizer)
    return optimizer, make_schedule(optimizer, base.optimizer, 20)


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def close_weights(one: nn.Module, two: nn.Module, atol: float = 1e-6) -> None:
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


def losses(seen: list[BatchResult]) -> list[float]:
    return [batch.loss for batch in seen]


class TinyNet(nn.Module):
    """Stem and trunk, both small; the trunk is linear if `linear`, the stem is not."""

    def __init__(self, linear: bool, classes: int = 2):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first = nn.Linear(math.prod(SHAPE), 6)
            self.last = nn.Linear(6, classes)
        self.linear = linear

    def stem(self, x: Tensor) -> Tensor:
        return torch.sin(3 * self.first(x.flatten(1)))  # (B, 6)

    def trunk(self, h: Tensor) -> Tensor:
        return self.last(h if self.linear else torch.tanh(3 * h))  # (B, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(self.stem(x))
