"""Attacks on linear models reach the closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ssmlab.evaluation.evaluate import evaluate
from ssmlab.params import AttackSpec, AutoAttackParams, FgsmParams, PgdParams
from ssmlab.params.written_float import WrittenFloat
from tests.evaluation.material import EVERYTHING


def linear(weight: Tensor, bias: Tensor) -> nn.Sequential:
    """A linear classifier of images (1, S, S); weight (classes, S * S), bias (classes,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    return nn.Sequential(nn.Flatten(), layer)


def images(n: int, side: int, generator: torch.Generator) -> Tensor:
    """Images in the middle of [0, 1], which an attack with eps 0.3 cannot leave."""
    return 0.4 + 0.2 * torch.rand(n, 1, side, side, generator=generator)


@torch.no_grad()
def radii(model: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """Distance of x to the nearest wrong class in L-inf: min_j (z_y - z_j) / ||w_y - w_j||_1; (N,) float64.

    Of a linear model, by Hoelder's inequality, where the box [0, 1] is far away.
    """
    weight, logits = model[1].weight.data.double(), model(x).double()
    margin = logits.gather(1, y[:, None]) - logits  # (N, classes)
    norm = (weight[y][:, None] - weight[None]).abs().sum(dim=2)  # (N, classes)
    return (margin / norm).nan_to_num(nan=float("inf")).min(dim=1).values


def gap_in(values: Tensor) -> float:
    """An eps in the middle half of `values`, as far as it can be from any of them."""
    values = values.sort().values
    middle = values[len(values) // 4 : 3 * len(values) // 4]
    widest = int(middle.diff().argmax())
    return float(middle[widest : widest + 2].mean())


def two_of_four(generator: torch.Generator) -> nn.Sequential:
    """A linear model of four classes, two of which are never near: then the sign of the gradient is optimal."""
    weight = torch.randn(4, 36, generator=generator)
    weight[2:] = 0.0
    return linear(weight, torch.tensor([0.0, 0.0, -60.0, -60.0]) - weight @ torch.full((36,), 0.5))


@pytest.mark.parametrize(
    "spec",
    [
        FgsmParams(kind="fgsm", **EVERYTHING),
        PgdParams(kind="pgd", alpha=WrittenFloat(0.02), steps=10, random_start=True, **EVERYTHING),
        AutoAttackParams(kind="autoattack", steps=10, queries=20, **EVERYTHING),
    ],
    ids=lambda spec: spec.kind,
)
def test_attacks_on_a_linear_model_reach_the_closed_form(spec: AttackSpec) -> None:
    generator = torch.Generator().manual_seed(1)
    model, x = two_of_four(generator), images(60, 6, generator)
    y = model(x).argmax(dim=1)
    y[:5] = 1 - y[:5]  # the model has these wrong when clean
    distance = radii(model, x, y)
    eps = gap_in(distance[5:])
    assert 0.005 < eps < 0.1
    found = evaluate(model, x, y, {"it": spec}, eps, batch_size=16)
    expected = "".join(str(int(right)) for right in distance > eps)
    assert found.measures["it"].flags == expected
    assert found.measures["clean"].flags == "0" * 5 + "1" * 55
    assert 5 < expected.count("0") < 60
    assert found.worst_case.flags == expected


def test_autoattack_reaches_the_closed_form_with_many_classes() -> None:
    generator = torch.Generator().manual_seed(2)
    model = linear(torch.randn(6, 36, generator=generator), torch.zeros(6))
    x = images(30, 6, generator)
    y = model(x).argmax(dim=1)
    distance = radii(model, x, y)
    eps = gap_in(distance)
    spec = AutoAttackParams(kind="autoattack", steps=20, queries=20, **EVERYTHING)
    found = evaluate(model, x, y, {"aa": spec}, eps).measures["aa"]
    assert found.flags == "".join(str(int(right)) for right in distance > eps)
    assert found.standard is False
