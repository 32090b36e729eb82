"""Every check measures what its sentence says: its value against closed forms, on models whose answers are known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.checks import binarisation
from ssmlab.evaluation.checks.behaviour import behaviour_checks
from ssmlab.evaluation.checks.finding import finding
from ssmlab.evaluation.checks.gradients import gradient_checks, slope_error
from ssmlab.evaluation.checks.run import check_model
from ssmlab.evaluation.checks.strength import Attacked, effort_checks
from ssmlab.evaluation.losses import ImageLoss, cross_entropy
from ssmlab.evaluation.own_attacks import LossPgd
from ssmlab.evaluation.victim import Victim

CPU = torch.device("cpu")


class Function(nn.Module):
    """A model from a function of images."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.function(x)
        return logits


def victim_of(function: Any) -> Victim:
    return Victim(Function(function), CPU)


def images(n: int, side: int = 4) -> Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_raises_a_flag_and_is_written_as_a_number(value: float) -> None:
    found = finding("random", value, 0.5, "a sentence")
    assert found.raised
    assert math.isfinite(found.value)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 3.0])
def test_the_error_of_a_gradient_is_relative_to_the_true_slope(factor: float) -> None:
    """The slope of a linear margin is its weights: a gradient of k times that has the relative error |k - 1|."""
    weight = torch.randn(16, generator=torch.Generator().manual_seed(1))
    x, y = images(5), torch.zeros(5, dtype=torch.int64)
    victim = victim_of(lambda x: torch.stack([x.flatten(1) @ weight, torch.zeros(len(x))], dim=1))
    gradients = factor * weight.view(1, 1, 4, 4).expand_as(x)
    found = slope_error(victim, x, y, gradients, torch.Generator().manual_seed(0))
    assert found == pytest.approx(abs(factor - 1.0), abs=1e-4)


@pytest.mark.parametrize(("gap", "share"), [(13.0, 0.0), (15.0, 1.0)])
def test_an_image_is_saturated_if_its_cross_entropy_is_below_a_millionth(gap: float, share: float) -> None:
    """With two logits, the cross entropy is log(1 + exp(-gap)): 2.3e-6 for a gap of 13, 3.1e-7 for one of 15."""
    victim = victim_of(lambda x: torch.stack([gap + 0.0 * x.flatten(1).sum(1), torch.zeros(len(x))], dim=1))
    found = gradient_checks(victim, images(3), torch.zeros(3, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert {check.name: check.value for check in found}["saturated"] == share


def test_gradients_are_checked_on_the_images_that_the_model_classifies_correctly() -> None:
    """Half of the labels are wrong, where the cross entropy is large: only the other half can be saturated."""
    victim = victim_of(lambda x: torch.stack([20.0 + 0.0 * x.flatten(1).sum(1), torch.zeros(len(x))], dim=1))
    found = check_model(victim, victim.model, images(8), torch.arange(8) % 2, Ball(0.0), classes=2, seed=0)
    assert {check.name: check.value for check in found}["saturated"] == 1.0


def test_checks_of_behaviour_do_not_depend_on_the_scale_of_the_logits() -> None:
    """A model whose logits depend a little on the other images of the batch."""
    weight = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))

    class Scaled(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * (x.flatten(1) @ weight + 0.1 * x.mean())

    values = []
    for scale in (1.0, 1e4):
        found = behaviour_checks(Victim(Scaled(scale), CPU), Scaled(scale), images(6))
        values.append([check.value for check in found])
        assert [check.name for check in found if check.raised] == ["batch-dependent"]
    assert values[1] == pytest.approx(values[0], rel=1e-3)


def test_an_image_that_an_attack_breaks_on_its_way_counts_as_broken() -> None:
    """The steps of 0.1 cannot jump over the band from 0.6 to 0.8, in which an image is wrong, and end above it."""

    def wrong_in_a_band(x: Tensor) -> Tensor:
        pixel = x.flatten(1)[:, 0]
        right = torch.where((pixel > 0.6) & (pixel < 0.8), -1.0, 1.0)
        return torch.stack([right, 0.0 * pixel, pixel - 9.0], dim=1)

    def upwards(logits: Tensor, y: Tensor) -> Tensor:
        return logits[:, 2]

    x, y = torch.full((50, 1, 1, 1), 0.5), torch.zeros(50, dtype=torch.int64)
    attacked = Attacked(victim_of(wrong_in_a_band), x, y, torch.Generator().manual_seed(0))
    starts = 0.5 + 0.4 * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 1)  # the same numbers
    above = starts.flatten() >= 0.8
    assert 0 < int(above.sum()) < 50
    assert attacked.left(Ball(0.4), 10, upwards).equal(above)


def test_noise_is_tried_on_the_images_that_the_long_pgd_did_not_break() -> None:
    """The model is right everywhere, so noise breaks nothing, whatever the shorter attacks are said to have left."""

    @dataclass(frozen=True, eq=False)
    class Scripted(Attacked):
        def left(self, ball: Ball, steps: int, loss: ImageLoss = cross_entropy, among: Tensor | None = None) -> Tensor:
            return torch.arange(len(self.x)) < {10: 9, 20: 2, 50: 7}[steps]

    x, y = images(10), torch.zeros(10, dtype=torch.int64)
    always_right = victim_of(lambda x: torch.tensor([[1.0, 0.0]]).expand(len(x), 2))
    scripted = Scripted(always_right, x, y, torch.Generator().manual_seed(0))
    found = effort_checks(scripted, Ball(0.1), scripted.left(Ball(0.1), 10), scripted.left(Ball(0.1), 20))
    assert {check.name: check.value for check in found}["noise beats gradients"] == 0


def test_a_planted_point_that_one_start_found_stays_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnlyTheFirstStart(LossPgd):
        def __call__(self, x: Tensor, y: Tensor) -> Tensor:
            return x if self.random_start else super().__call__(x, y)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 3)).requires_grad_(False)
    monkeypatch.setattr(binarisation, "LossPgd", OnlyTheFirstStart)
    monkeypatch.setattr(binarisation, "STARTS", 2)
    found = binarisation.binarisation_test(model, images(6), Ball(0.1), 0, torch.float32)
    assert found.solved > 0
