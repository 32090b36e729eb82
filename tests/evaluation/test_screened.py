"""Screened AutoAttack against AutoAttack, and its choice of survivors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.attacks import lowest_margins
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.losses import margins
from ssmlab.evaluation.results import Measure
from ssmlab.evaluation.schedule import Schedule
from ssmlab.evaluation.tasks import AttackOutcome, AttackTask, Clean
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AutoAttackParams, ScreenedAutoAttackParams

EVERYTHING: dict[str, Any] = {"images": "all", "checkpoints": ("best",)}
EPS = 0.02


class Quantised(nn.Module):
    """Rounds pixels, so gradients are zero and only Square breaks images that random starts do not."""

    def forward(self, x: Tensor) -> Tensor:
        return (30 * x).round() / 30


def net(seed: int = 0) -> nn.Sequential:
    """A model that is not linear, of 8 x 8 images, and looks more robust than it is."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(Quantised(), nn.Conv2d(1, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 5))
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return model


def material(n: int = 24) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A model, images, and labels most of which it gives them."""
    model, generator = net(), torch.Generator().manual_seed(5)
    x = torch.rand(n, 1, 8, 8, generator=generator)
    y = model(x).argmax(dim=1)
    y[::7] = (y[::7] + 1) % 5
    return model, x, y


def screened(survivors: Any, steps: int = 2, queries: int = 60) -> ScreenedAutoAttackParams:
    return ScreenedAutoAttackParams(
        kind="screened-autoattack", steps=steps, queries=queries, survivors=survivors, **EVERYTHING
    )


def measure(survivors: Any, **changes: Any) -> Measure:
    model, x, y = material()
    return evaluate(model, x, y, {"it": screened(survivors)}, EPS, **({"batch_size": 7} | changes)).measures["it"]


@pytest.mark.parametrize("survivors", ["all", 24])
def test_with_all_survivors_screened_it_agrees_with_autoattack(survivors: Any) -> None:
    model, x, y = material()
    whole = AutoAttackParams(kind="autoattack", steps=2, queries=60, **EVERYTHING)
    found = evaluate(model, x, y, {"aa": whole, "screened": screened(survivors)}, EPS, batch_size=7).measures
    assert found["screened"].flags == found["aa"].flags
    assert found["screened"].parts == found["aa"].parts
    parts = list(found["aa"].parts.values())
    assert parts[3] < parts[1]  # the parts after the screen break images, so the comparison is not trivial


@given(st.lists(st.integers(1, 24), min_size=2, max_size=2))
@settings(deadline=None, max_examples=4)
def test_more_survivors_screened_never_leave_more_images_right(counts: list[int]) -> None:
    fewer, more = (measure(count).flags for count in sorted(counts))
    assert all(flag <= before for flag, before in zip(more, fewer, strict=True))


def test_only_the_survivors_of_lowest_margin_are_attacked_further() -> None:
    everything, some = measure("all"), measure(5)
    first = measure(1, batch_size=24)
    assert some.parts["apgd-t"] == everything.parts["apgd-t"] == first.parts["apgd-t"]
    assert (some.screened, first.screened) == (5, 1)
    assert everything.screened == round(24 * everything.parts["apgd-t"])
    survivors = round(24 * some.parts["apgd-t"]) - round(24 * some.parts["square"])
    assert survivors <= 5


def test_screening_does_not_depend_on_workers_or_batches() -> None:
    alone = measure(5)
    assert measure(5, batch_size=3) == alone
    assert measure(5, workers=2) == alone


def test_screened_autoattack_is_never_called_standard() -> None:
    found = measure(3)
    assert found.standard is None
    assert parse_attack("screened-autoattack", 0.1).kind == "screened-autoattack"


def test_without_survivors_nothing_is_screened() -> None:
    model, x, y = material()
    found = evaluate(model[1:], x, y, {"it": screened(5, steps=10)}, 0.5).measures["it"]
    assert (found.correct, found.screened) == (0, 0)
    assert found.parts == {"apgd-ce": 0.0, "apgd-t": 0.0, "fab-t": 0.0, "square": 0.0}


def test_screened_autoattack_costs_a_fraction_of_autoattack() -> None:
    ours, whole = parse_attack("screened-autoattack", 0.1), parse_attack("autoattack", 0.1)
    images = (1000, 1000, 100, 100)
    expected = sum(count * attack_of(ours).passes(10, phase, 1) for phase, count in enumerate(images))
    assert expected < 0.35 * sum(1000 * attack_of(whole).passes(10, phase, 1) for phase in range(4))


def test_survivors_of_all_tasks_are_ranked_together_and_keep_their_order() -> None:
    attacks = {"it": screened(3)}
    clean = Clean(right=torch.ones(8, dtype=torch.bool), classes=5, not_finite=0, image_shape=(1, 8, 8))
    schedule = Schedule({"m": attacks}, {"m": clean}, batch_size=4)
    task = AttackTask("m", "it", attacks["it"], 1, (), 5, (1, 8, 8))
    schedule.outcomes["m", "it"] = [
        AttackOutcome(task, right=rows, after={}, escaped=0, unstable=0, queries=0, margins=lowest)
        for rows, lowest in (((4, 5, 7), (0.2, -0.5, 0.3)), ((0, 1, 2), (0.9, 0.1, 0.2)))
    ]
    assert schedule.chosen(("m", "it"), 1, attacks["it"]) == [1, 2, 5]  # of the two at 0.2, the first row


def test_an_image_whose_margin_is_not_a_number_on_the_way_comes_first() -> None:
    x, y = torch.rand(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64)

    def undefined_beside_the_images(changed: Tensor) -> Tensor:
        known = (changed == x).flatten(1).all(dim=1, keepdim=True)  # (3, 1)
        return changed.flatten(1)[:, :2] + torch.where(known, 0.0, torch.nan)

    victim = Victim(undefined_beside_the_images, torch.device("cpu"))  # type: ignore[arg-type]
    assert lowest_margins(victim, x, y, Ball(0.1)).tolist() == [-torch.inf] * 3


def test_the_lowest_margin_of_a_linear_model_is_the_closed_form() -> None:
    """PGD takes a linear model of two classes to the corner of the ball: margin - eps * ||w||_1."""
    generator = torch.Generator().manual_seed(2)
    layer = nn.Linear(16, 2)
    layer.weight.data, layer.bias.data = torch.randn(2, 16, generator=generator), torch.zeros(2)
    model = nn.Sequential(nn.Flatten(), layer)
    x = 0.4 + 0.2 * torch.rand(9, 1, 4, 4, generator=generator)
    y = model(x).argmax(dim=1)
    expected = margins(model(x), y) - 0.05 * (layer.weight[0] - layer.weight[1]).abs().sum()
    found = lowest_margins(Victim(model, torch.device("cpu")), x, y, Ball(0.05))
    torch.testing.assert_close(found, expected.detach())
