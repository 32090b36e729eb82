"""The checks for masked gradients: they raise flags on models with masked gradients, and not on normal models."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.checks.strength import Attacked, cross_entropy, gate_checks, strength_checks
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.losses import ImageLoss
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim
from ssmlab.params import Norm
from tests.evaluation.checks.models import EPS, HONEST, PLANTED, digits, trained

BALLS: list[tuple[Norm, float]] = [("linf", EPS), ("l2", 1.0)]


def checks_of(model: nn.Module, eps: float = EPS) -> dict[str, Check]:
    x, y = digits()
    return {check.name: check for check in evaluate(model, x[:64], y[:64], [], eps).checks}


@pytest.mark.parametrize(("norm", "eps"), BALLS)
@pytest.mark.parametrize("name", HONEST)
def test_no_check_is_raised_on_an_honest_model(name: str, norm: Norm, eps: float) -> None:
    x, y = digits()
    found = evaluate(HONEST[name](), x[:100], y[:100], ["fgsm", "pgd-10"], eps, norm=norm)
    assert [check for check in found.checks if check.raised] == []
    assert found.warnings == ()
    assert len(found.checks) >= 16


@pytest.mark.parametrize(("norm", "eps"), BALLS)
@pytest.mark.parametrize("name", PLANTED)
def test_a_model_made_to_mask_its_gradients_raises_its_check(name: str, norm: Norm, eps: float) -> None:
    make, expected = PLANTED[name]
    x, y = digits()
    found = evaluate(make(), x[:64], y[:64], [], eps, norm=norm)
    raised = {check.name: check.sentence for check in found.checks if check.raised}
    assert expected in raised
    assert raised[expected] in found.warnings
    assert all(sentence and "\n" not in sentence for sentence in raised.values())


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ("logits times 10,000", "margin beats cross entropy"),
        ("turned gradient", "noise beats gradients"),
        ("quantised images", "restarts gain"),
        ("turned gradient", "eps 0.5 survived"),
        ("turned gradient", "eps 1 survived"),
    ],
)
def test_a_masked_model_also_raises_the_checks_that_attack_it(planted: str, expected: str) -> None:
    assert checks_of(PLANTED[planted][0]())[expected].raised


@dataclass(frozen=True, eq=False)
class Scripted(Attacked):
    """Attacks with outcomes that the test chooses for each number of steps and eps."""

    left_over: dict[tuple[float, int], int]

    def left(self, ball: Ball, steps: int, loss: ImageLoss = cross_entropy, among: Tensor | None = None) -> Tensor:
        return torch.arange(len(self.x)) < self.left_over.get((ball.eps, steps), 0)


@pytest.mark.parametrize(
    ("left_over", "expected"),
    [
        ({(0.1, 10): 30, (0.1, 50): 32}, "more steps help the model"),
        ({(0.1, 20): 30, (0.2, 20): 32}, "accuracy rises with eps"),
    ],
)
def test_two_images_too_many_after_a_stronger_attack_raise_a_check(
    left_over: dict[tuple[float, int], int], expected: str
) -> None:
    x, y = digits()
    generator, victim = torch.Generator().manual_seed(0), Victim(trained(), torch.device("cpu"))

    def raised(left_over: dict[tuple[float, int], int]) -> bool:
        scripted = Scripted(victim, x[:64], y[:64], generator, left_over)
        return next(check.raised for check in strength_checks(scripted, Ball(0.1), 10) if check.name == expected)

    assert raised(left_over)
    strongest = max(left_over, key=lambda key: left_over[key])
    assert not raised(left_over | {strongest: left_over[strongest] - 1})


def test_an_eps_above_one_half_raises_a_flag() -> None:
    assert not checks_of(trained(), 0.5)["eps"].raised
    assert checks_of(trained(), 0.6)["eps"].raised


def test_an_l2_eps_with_which_every_image_can_become_grey_raises_a_flag() -> None:
    """Half of the diagonal of 14 x 14 pixels is 7."""
    x, y = digits()
    for eps, raised in ((7.0, False), (7.1, True)):
        checks = {check.name: check for check in evaluate(trained(), x[:8], y[:8], [], eps, norm="l2").checks}
        assert checks["eps"].raised == raised


def test_a_model_that_is_never_right_is_checked_as_far_as_possible() -> None:
    x, y = digits()
    right = trained()(x[:64]).argmax(dim=1)
    found = evaluate(trained(), x[:64], (right + 1) % 10, [], EPS)
    assert {check.name for check in found.checks} == {
        "eps",
        "random",
        "changes its input or state",
        "probabilities",
        "batch-dependent",
    }
    assert y.shape == (2000,)


def test_checks_are_the_same_every_time_and_cost_little() -> None:
    began = time.process_time()
    first = checks_of(trained())
    assert time.process_time() - began < 4.0
    torch.rand(3)
    assert checks_of(trained()) == first


def test_plain_and_softened_gates_are_attacked_from_the_same_starts() -> None:
    starts: list[Tensor] = []

    @dataclass(frozen=True, eq=False)
    class Noting(Attacked):
        def left(self, ball: Ball, steps: int, loss: ImageLoss = cross_entropy, among: Tensor | None = None) -> Tensor:
            starts.append(self.generator.get_state())
            return super().left(ball, steps, loss, among)

    x, y = torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)
    victim = Victim(nn.Sequential(nn.Flatten(), nn.ReLU()), x.device)
    attacked = Noting(victim, x, y, torch.Generator().manual_seed(3))
    gate_checks(attacked, Ball(EPS), torch.ones(4, dtype=torch.bool))
    assert len(starts) == 2
    assert starts[0].equal(starts[1])


@pytest.mark.parametrize(("name", "expected"), [("relu", ["softened gates gain"]), ("gelu", [])])
def test_only_a_model_with_gates_is_attacked_through_softened_gates(name: str, expected: list[str]) -> None:
    x, y = digits()
    victim = Victim(HONEST[name](), x.device)
    right = victim.is_right(x, y)
    attacked, before = Attacked(victim, x[right], y[right], torch.Generator().manual_seed(0)), victim.queries
    everything = torch.ones_like(attacked.y, dtype=torch.bool)
    found = gate_checks(attacked, Ball(EPS), everything)
    assert [check.name for check in found] == expected
    assert gate_checks(attacked, Ball(EPS), ~everything) == []
    assert (victim.queries == before + 1) == (not expected)  # one image shows that there are no gates
