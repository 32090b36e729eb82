"""The moving average of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import Params
from ssmlab.training.averaging import AveragedModel


@pytest.fixture
def model(tiny_params: Params) -> Classifier:
    return build(tiny_params.run("attention").model, (1, 14, 14), 3, 0)


def wander(model: Classifier, draw: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)


def flat(model: Classifier) -> np.ndarray:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).double().numpy()


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_the_average_follows_the_recursion_computed_in_double_precision(model: Classifier, decay: float) -> None:
    average, draw = AveragedModel(model, decay), torch.Generator().manual_seed(0)
    expected = flat(model)
    for t in range(1, 31):
        wander(model, draw)
        average.update(model)
        d = min(decay, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * flat(model)
    np.testing.assert_allclose(flat(average.model), expected, rtol=1e-5, atol=1e-6)
    assert np.array_equal(flat(average.model), flat(model)) is (decay == 0.0)


def test_the_average_is_a_model_that_shares_no_memory_with_the_trained_one(model: Classifier) -> None:
    average = AveragedModel(model, 0.9)
    before = flat(model)
    wander(model, torch.Generator().manual_seed(0))
    assert np.array_equal(flat(average.model), before)
    assert all(parameter.requires_grad for parameter in model.parameters())
    x = torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(average.model.freeze()(x), average.model.eval()(x))


def test_an_average_restored_from_its_state_continues_like_the_original(model: Classifier) -> None:
    average, draw = AveragedModel(model, 0.9), torch.Generator().manual_seed(0)
    for _ in range(3):
        wander(model, draw)
        average.update(model)
    other = AveragedModel(model, 0.9)
    other.load_state_dict(average.state_dict())
    wander(model, draw)
    for each in (average, other):
        each.update(model)
    assert np.array_equal(flat(average.model), flat(other.model))
    assert average.updates == other.updates == 4


def test_the_average_marks_the_same_parameters_as_trained(model: Classifier) -> None:
    """The report once gave a run with averaging 0 parameters, because none of the average's required a gradient."""
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    average = AveragedModel(model, 0.9).model
    assert [name for name, parameter in average.named_parameters() if parameter.requires_grad] == trained
    assert all(parameter.grad is None for parameter in average.parameters())
