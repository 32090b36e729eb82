"""The binarisation test: the attack finds planted points in normal models, but not in models with masked gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.checks.binarisation import FeatureModel, binarisation_check, binarisation_test, planted
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.params import Norm
from tests.evaluation.checks.models import EPS, HONEST, PLANTED, digits

FLOAT = torch.float32


@pytest.mark.parametrize("ball", [Ball(EPS), Ball(1.0, "l2")])
@pytest.mark.parametrize("name", HONEST)
def test_the_attack_finds_the_planted_points_of_an_honest_model(name: str, ball: Ball) -> None:
    found = binarisation_check(HONEST[name](), digits()[0][:48], ball, 0, FLOAT)
    assert not found.raised, found.sentence


@pytest.mark.parametrize(("norm", "eps"), [("linf", EPS), ("l2", 1.0)])
@pytest.mark.parametrize("name", ["quantised images", "detached gradient", "turned gradient"])
def test_the_attack_does_not_find_them_in_a_masked_model(name: str, norm: Norm, eps: float) -> None:
    x, y = digits()
    found = evaluate(PLANTED[name][0](), x[:48], y[:48], [], eps, norm=norm, binarisation=48)
    check = next(check for check in found.checks if check.name == "binarisation")
    assert check.raised
    assert check.value > 0.5
    assert check.sentence in found.warnings


def test_the_planted_point_is_adversarial_and_the_copies_keep_their_label() -> None:
    features, x = FeatureModel(HONEST["relu"](), FLOAT), digits()[0][:4]
    for image in x.split(1):
        problem = planted(features, image, Ball(EPS), 0)
        assert problem is not None
        weight, bias = problem
        noise = EPS * 0.9 * (2 * torch.rand(300, *image.shape[1:], generator=torch.Generator().manual_seed(1)) - 1)
        scores = features((image + noise).clamp(0, 1)) @ weight + bias
        assert (scores < 0).double().mean() > 0.9
        assert float(features(image)[0] @ weight + bias) < 0


def test_the_binarisation_test_is_reproducible_and_does_not_depend_on_other_images() -> None:
    x = digits()[0][:12]
    assert binarisation_test(HONEST["relu"](), x, Ball(EPS), 0, FLOAT) == binarisation_test(
        HONEST["relu"](), x, Ball(EPS), 0, FLOAT
    )
    features = FeatureModel(HONEST["relu"](), FLOAT)
    alone, again = planted(features, x[3:4], Ball(EPS), 0), planted(features, x[3:4].clone(), Ball(EPS), 0)
    assert alone is not None
    assert again is not None
    assert alone[0].equal(again[0])


def test_a_model_without_a_linear_end_is_refused_in_one_line() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(14, 14)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x).flatten(1)[:, :10]

    x, y = digits()
    with pytest.raises(UserError, match="no linear layer"):
        evaluate(lambda x: x.flatten(1)[:, :10], x[:4], y[:4], [], EPS, binarisation=4)
    with pytest.raises(UserError, match="does not end in a linear layer"):
        evaluate(Early(), x[:4], y[:4], [], EPS, binarisation=4)


def test_the_binarisation_test_runs_only_on_request() -> None:
    x, y = digits()
    found = evaluate(HONEST["relu"](), x[:8], y[:8], [], EPS)
    assert "binarisation" not in {check.name for check in found.checks}
