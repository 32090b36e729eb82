"""All probes of one model, for every mixer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.nets import Classifier
from ssmlab.params import ModelParams, ProbeParams
from ssmlab.probes import probe
from ssmlab.probes.ladder import loss_attack
from ssmlab.probes.probe import percentiles, probe_model
from ssmlab.probes.results import CheckpointProbes
from ssmlab.probes.sites import sites
from ssmlab.training.attack import attack_from
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


@given(values=st.lists(st.sampled_from([0.0, 0.01, 0.02, 0.03, 0.04, 0.05]), min_size=1, max_size=9))
@settings(deadline=None, max_examples=30)
def test_half_is_the_largest_eps_at_which_at_least_half_of_the_images_are_certified(values: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "certified_eps", lambda *_: torch.tensor(values, dtype=torch.float64))
        x, y = torch.zeros(len(values), 1, 8, 8), torch.zeros(len(values), dtype=torch.int64)
        found, none_survive = (probe.certificate(Any, x, y, 0.05, robust) for robust in (0.3, 0.0))
    assert sum(value >= found.half for value in values) >= len(values) / 2
    assert all(sum(each >= value for each in values) < len(values) / 2 for value in values if value > found.half)
    assert found.accuracy == values.count(0.05) / len(values)
    assert found.vacuous == (found.accuracy == 0.0)
    assert not none_survive.vacuous  # there is nothing that a bound could explain


@pytest.mark.parametrize("mixer", ["s4", "s5"])
def test_the_peak_gain_of_a_channel_is_the_sum_over_its_derivatives_by_all_inputs(mixer: str) -> None:
    """The other route differentiates the last token, which depends on all tokens of all channels."""
    model = model_of(mixer=mixer).double()
    x = labelled_images(model.float(), 2)[0]
    found = probe.layer_gains(model.double(), sites(model, params_of(mixer=mixer)), x, (x + 0.1).clamp(0, 1))
    for gains, layer in zip(found, model.layers, strict=True):
        ssm = layer.mixer.ssm
        last = torch.autograd.functional.jacobian(lambda u, ssm=ssm: ssm(u)[:, 0, -1], torch.zeros(8, 1, 16).double())
        assert gains.peak == pytest.approx(last.abs().sum((1, 2, 3)).tolist(), rel=1e-5)


def test_the_robust_accuracy_is_that_of_the_test_images_under_the_loss_attack() -> None:
    model, params = model_of(), params_of()
    x, y = labelled_images(model, 24)
    generator, attack = torch.Generator().manual_seed(SETTINGS.seed), attack_from(SETTINGS.adversary)
    _, x_adv = (loss_attack(model, x[rows], y[rows], attack, generator) for rows in (slice(12, 24), slice(12)))
    found = probed(model, params)
    assert found.robust == float((model(x_adv).argmax(1) == y[:12]).double().mean())
    assert found.robust < 1.0


def test_equal_calls_give_equal_results() -> None:
    model, params = model_of(mixer="mamba"), params_of(mixer="mamba")
    assert probed(model, params) == probed(model, params)
