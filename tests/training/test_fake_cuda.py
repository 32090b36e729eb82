"""The attack's arithmetic on a simulated GPU: a tensor that is left on the CPU is found without a real GPU.

FakeTensorMode computes devices, types and shapes but no numbers. It has no autograd for devices that this build does
not know, so gradients are given here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ssmlab.training.adversary import ascend, project, starting_point, steepest_direction
from ssmlab.training.attack import Attack
from ssmlab.training.regimes.mart import mart_loss
from ssmlab.training.regimes.trades import divergence, trades_attack

SHAPE = (4, 1, 8, 8)


@pytest.fixture(autouse=True)
def no_numbers() -> Iterator[None]:
    with FakeTensorMode():
        yield


def on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda")


def is_like(x_adv: Tensor, x: Tensor) -> bool:
    return (x_adv.device.type, x_adv.dtype, x_adv.shape) == ("cuda", x.dtype, x.shape)


def test_a_tensor_on_the_cpu_is_noticed() -> None:
    """Otherwise the tests below could not fail."""
    with pytest.raises(RuntimeError, match="device"):
        on_gpu(*SHAPE) + torch.empty(SHAPE)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_part_of_an_attack_stays_on_the_gpu(norm: Any, dtype: torch.dtype) -> None:
    """Also if the generator is on the CPU."""
    x, attack = on_gpu(*SHAPE, dtype=dtype), Attack(0.1, 0.03, 3, norm)
    start = starting_point(x, attack, torch.Generator())
    assert is_like(start, x)
    step = steepest_direction(on_gpu(*SHAPE, dtype=dtype), norm) * attack.alpha
    assert is_like(project(start + step, x, attack.eps, norm), x)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_of_no_steps_runs_on_the_gpu_from_end_to_end(norm: Any) -> None:
    x, y, attack = on_gpu(*SHAPE), on_gpu(4, dtype=torch.int64), Attack(0.1, 0.03, 0, norm)
    generator = torch.Generator()

    def model(x: Tensor) -> Tensor:
        return x.flatten(1).narrow(1, 0, 3)  # (B, classes)

    start = starting_point(x, attack, generator)
    assert is_like(ascend(model, x, y, start, attack, F.cross_entropy), x)
    assert is_like(trades_attack(model, x, attack, generator), x)


def test_the_losses_of_mart_and_trades_stay_on_the_gpu() -> None:
    clean, attacked, y = on_gpu(4, 3), on_gpu(4, 3), on_gpu(4, dtype=torch.int64)
    for loss in (mart_loss(clean, attacked, y, 5.0), divergence(attacked, clean.softmax(1))):
        assert (loss.device.type, loss.shape) == ("cuda", ())
