"""Gates with a softened backward pass: the values do not change, only the slopes do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.evaluation.checks.softened import SoftenedGates
from ssmlab.nets.ads import AdaptiveScaling


@pytest.mark.parametrize("gate", [torch.relu, F.relu, torch.sigmoid, torch.tanh, nn.ReLU(), nn.Sigmoid(), Tensor.tanh])
def test_a_softened_gate_keeps_its_values_and_lets_a_gradient_through(gate: object) -> None:
    z = torch.tensor([-30.0, -1.0, 0.5, 30.0], requires_grad=True)
    expected = gate(z.detach())  # type: ignore[operator]
    with SoftenedGates() as gates:
        found = gate(z)  # type: ignore[operator]
    assert gates.met == 1
    assert found.detach().equal(expected)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert (gradient[1:3] > 0).all()
    assert (gradient >= 0).all()


def test_the_softened_slope_of_a_closed_gate_is_not_zero() -> None:
    z = torch.tensor([-0.1, -1.0], requires_grad=True)
    with SoftenedGates():
        found = torch.relu(z)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    assert gradient.min() > 0
    assert torch.autograd.grad(torch.relu(z).sum(), z)[0].equal(torch.zeros(2))


@pytest.mark.parametrize("act", ["relu", "sigmoid", "tanh"])
def test_the_gates_of_ads_are_counted(act: str) -> None:
    layer = AdaptiveScaling(4, act, "both")  # type: ignore[arg-type]
    y = torch.rand(4, 2, 3)
    with SoftenedGates() as gates:
        found = layer(y)
    assert gates.met == 2
    assert found.equal(layer(y))


def test_a_model_without_gates_is_left_alone() -> None:
    with SoftenedGates() as gates:
        F.gelu(torch.rand(3)) + F.silu(torch.rand(3))
    assert gates.met == 0
