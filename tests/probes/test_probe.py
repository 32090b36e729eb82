"""All probes of one model, for every mixer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssmlab.nets import Classifier
from ssmlab.params import ModelParams, ProbeParams
from ssmlab.probes.probe import percentiles, probe_model
from ssmlab.probes.results import CheckpointProbes
from tests.probes.models import labelled_images, model_of, params_of
from tests.probes.test_ladder import MODELS

SETTINGS = ProbeParams.model_validate(
    {
        "device": "cpu",
        "images": 12,
        "adversary": {"eps": 0.05, "alpha": 0.0125, "steps": 4, "random_start": True},
        "seed": 0,
    }
)
FIXED = {"s4", "s4-without-norm", "dss-gelu-glu-ads", "s5"}


def probed(model: Classifier, params: ModelParams) -> CheckpointProbes:
    x, y = labelled_images(model, 24)
    return probe_model(model, params, {"train": (x[12:], y[12:]), "test": (x[:12], y[:12])}, SETTINGS, "0" * 64, 1)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_probed_and_stays_as_it_is(name: str) -> None:
    model, params = model_of(**MODELS[name]), params_of(**MODELS[name])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = probed(model, params)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [(each.split, each.attack) for each in found.ladders] == [
        ("train", "loss"),
        ("train", "features"),
        ("test", "loss"),
        ("test", "features"),
    ]
    assert found.clean == 1.0 and found.robust <= found.clean
    assert len(found.gains) == (2 if name in FIXED | {"s4-attention"} else 0)
    assert (found.certificate is not None) == (name in FIXED)
    assert (found.exact is not None) == (name == "s4-without-norm")
    for gains in found.gains:
        assert gains.tightness is not None and 0 <= gains.tightness[0] <= gains.tightness[-1] <= 1 + 1e-9
        assert gains.ratios is not None and len(gains.ratios) <= 101
        assert np.quantile(gains.ratios, (0, 0.25, 0.5, 0.75, 1)) == pytest.approx(gains.tightness, rel=1e-5)


@pytest.mark.parametrize("mixer", ["s4", "s5", "mamba"])
def test_a_model_of_one_token_can_be_probed(mixer: str) -> None:
    """It has no later tokens, so nothing is known about growth along them."""
    changes = {"mixer": mixer, "patch": 8}
    found = probed(model_of(**changes), params_of(**changes))
    assert [each.system for each in found.growth] == ["layer 1", "layer 2", "all layers"]
    assert all((each.profile, each.end, each.after, each.over) == ((), (), None, None) for each in found.growth)


def test_few_ratios_are_all_kept_and_many_as_percentiles() -> None:
    assert percentiles(torch.tensor([[0.3, float("nan")], [0.1, 0.2]])) == (0.1, 0.2, 0.3)
    many = torch.rand(12, 40, generator=torch.Generator().manual_seed(0)).double()
    assert percentiles(many) == pytest.approx(np.percentile(many, range(101)), rel=1e-5)
    assert percentiles(torch.full((3,), float("nan"))) is None


def test_certified_images_are_robust_and_exact_accuracy_is_at_most_accuracy_under_attack() -> None:
    found = probed(model_of(norm="none"), params_of(norm="none"))
    assert found.exact is not None and found.certificate is not None
    assert found.certificate.accuracy <= found.exact <= found.robust
    assert found.certificate.half <= 0.05


def test_equal_calls_give_equal_results() -> None:
    model, params = model_of(mixer="mamba"), params_of(mixer="mamba")
    assert probed(model, params) == probed(model, params)
