"""The error through the layers: hooks record the true signals, and the product of amplifications is the total one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from scipy.stats import entropy, gmean

from ssmlab.nets import Classifier
from ssmlab.params import ModelParams
from ssmlab.probes.ladder import feature_attack, ladder, layer_divergence, loss_attack, relative_error
from ssmlab.probes.sites import signals, sites, trunk_output
from ssmlab.training.attack import Attack
from tests.probes.models import labelled_images, model_of, params_of

ADS = {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}}
MEGA = {"mixer": "mega", "mega": {"z": 4, "hidden": 8, "ffn": 8, "ema": 2}}
MODELS: dict[str, dict[str, object]] = {
    "s4": {},
    "s4-without-norm": {"norm": "none"},
    "dss-gelu-glu-ads": {"mixer": "dss", "pointwise": "gelu", "output": "glu", **ADS},
    "s4-attention": {"enhancement": "attention"},
    "s5": {"mixer": "s5"},
    "mamba": {"mixer": "mamba"},
    "mamba-ads": {"mixer": "mamba", **ADS},
    "mega": MEGA,
    "mega-ads": {**MEGA, **ADS},
}
ATTACK = Attack(eps=0.1, alpha=0.025, steps=4)


def case(name: str) -> tuple[Classifier, ModelParams]:
    return model_of(**MODELS[name]), params_of(**MODELS[name])


def attacked(model: Classifier) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = labelled_images(model, 12)
    return x, loss_attack(model, x, y, ATTACK, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", MODELS)
def test_the_last_site_is_what_the_head_averages(name: str) -> None:
    model, params = case(name)
    x, _ = labelled_images(model, 3)
    passed = signals(model, sites(model, params), x)
    with torch.no_grad():
        assert torch.equal(passed[-1].float(), trunk_output(model, x))
        torch.testing.assert_close(model.head(passed[-1].float().mean(1)), model(x))


@pytest.mark.parametrize("name", MODELS)
def test_every_site_is_seen_for_every_image_and_token(name: str) -> None:
    model, params = case(name)
    x, _ = labelled_images(model, 3)
    assert {signal.shape[:2] for signal in signals(model, sites(model, params), x)} == {(3, 16)}


@pytest.mark.parametrize("name", MODELS)
def test_an_image_is_seen_alike_alone_and_in_a_batch(name: str) -> None:
    """A site read in the wrong memory order would mix images."""
    model, params = case(name)
    x, _ = labelled_images(model, 3)
    places = sites(model, params)
    for together, alone in zip(signals(model, places, x), signals(model, places, x[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4)


def test_sites_name_every_component_in_the_order_of_the_forward_pass() -> None:
    model, params = case("dss-gelu-glu-ads")
    names = [site.component for site in sites(model, params) if site.layer in (None, 1)]
    assert names == ["tokens", "embedding", "norm", "mixer", "pointwise", "AdS", "output", "residual", "norm"]
    model, params = case("mega")
    names = [site.component for site in sites(model, params) if site.layer == 2]
    assert names == ["mixer", "pointwise", "gated attention", "norm", "feed-forward", "norm"]


def test_the_signals_are_those_of_the_formulas() -> None:
    model, params = case("dss-gelu-glu-ads")
    x, _ = labelled_images(model, 3)
    tokens, embedding, norm, mixer, pointwise, ads, output, residual, after = signals(model, sites(model, params), x)[
        :9
    ]
    block = model.layers[0].mixer
    model.double()
    with torch.no_grad():
        torch.testing.assert_close(model.embed(tokens), embedding, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(F.gelu(mixer), pointwise, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            block.enhancement(pointwise.permute(2, 0, 1)).permute(1, 2, 0), ads, rtol=1e-4, atol=1e-5
        )
        torch.testing.assert_close(F.glu(block.output(ads)), output, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm + output, residual, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model.layers[0].norm(residual), after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_amplifications_telescope(name: str) -> None:
    model, params = case(name)
    found = ladder(model, sites(model, params), *attacked(model), "loss", "test")
    assert found is not None and found.images == 12
    last = found.steps[0].rho
    for step in found.steps[1:]:
        assert step.amplification is not None
        last *= step.amplification
        assert step.rho == pytest.approx(last)
    assert math.prod(step.amplification or 1.0 for step in found.steps) == pytest.approx(found.total)


def test_rho_does_not_depend_on_the_scale_and_mse_grows_with_its_square() -> None:
    generator = torch.Generator().manual_seed(0)
    z, moved = torch.randn(2, 4, 5, 6, generator=generator).double()
    shift = torch.randn(1, 1, 6, generator=generator).double()
    torch.testing.assert_close(relative_error(6 * z, 6 * moved), relative_error(z, moved))
    torch.testing.assert_close(relative_error(z + shift, moved + shift), relative_error(z, moved))
    assert float(layer_divergence(6 * z, 6 * moved).mean()) > 2 * float(layer_divergence(z, moved).mean())


def test_kl_is_zero_for_equal_signals_and_ignores_a_common_shift_of_the_channels() -> None:
    z = torch.randn(4, 5, 6, dtype=torch.float64)
    assert layer_divergence(z, z).tolist() == [0.0] * 4
    torch.testing.assert_close(layer_divergence(z, z + 3.0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)


def test_kl_is_the_mean_over_tokens_of_the_divergence_of_the_attacked_from_the_clean_signal() -> None:
    """scipy's relative entropy is not symmetric, so the order of the two matters."""
    clean, attacked = torch.randn(2, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = entropy(softmax(clean.numpy(), axis=-1), softmax(attacked.numpy(), axis=-1), axis=-1).mean(axis=1)
    assert layer_divergence(clean, attacked).tolist() == pytest.approx(expected.tolist())


def test_there_is_no_ladder_where_nothing_was_changed() -> None:
    model, params = case("s4")
    x, _ = labelled_images(model, 3)
    assert ladder(model, sites(model, params), x, x, "loss", "test") is None


def test_an_image_that_was_not_changed_does_not_count() -> None:
    model, params = case("s4")
    x, x_adv = attacked(model)
    x_adv[0] = x[0]
    found = ladder(model, sites(model, params), x, x_adv, "loss", "test")
    assert found is not None and found.images == 11 and all(math.isfinite(step.rho) for step in found.steps)


def test_a_ladder_has_the_means_of_numpy_over_the_images_that_moved() -> None:
    """rho is a geometric mean over images, kl and mse are arithmetic ones."""
    model, params = case("dss-gelu-glu-ads")
    x, x_adv = attacked(model)
    x_adv[:3] = x[:3]
    places = sites(model, params)
    found = ladder(model, places, x, x_adv, "loss", "test")
    assert found is not None
    pairs = zip(signals(model, places, x[3:]), signals(model, places, x_adv[3:]), strict=True)
    for step, (clean, moved) in zip(found.steps, ((a.numpy(), b.numpy()) for a, b in pairs), strict=True):
        errors = [
            np.linalg.norm(after - before) / np.linalg.norm(before - before.mean(axis=0))
            for before, after in zip(clean, moved, strict=True)
        ]
        assert step.rho == pytest.approx(gmean(errors))
        assert step.mse == pytest.approx(((moved - clean) ** 2).mean())
        assert step.kl == pytest.approx(entropy(softmax(clean, axis=-1), softmax(moved, axis=-1), axis=-1).mean())


@pytest.mark.parametrize("name", ["s4", "mamba", "mega"])
def test_the_feature_attack_moves_the_output_further_than_the_loss_attack(name: str) -> None:
    model, params = case(name)
    x, x_adv = attacked(model)
    x_far = feature_attack(model, x, ATTACK, torch.Generator().manual_seed(0))
    assert float((x_far - x).abs().max()) <= ATTACK.eps + 1e-6
    places = sites(model, params)
    by_loss, by_features = (
        ladder(model, places, x, x_adv, "loss", "test"),
        ladder(model, places, x, x_far, "features", "test"),
    )
    assert by_loss is not None and by_features is not None
    assert by_features.steps[-1].rho > by_loss.steps[-1].rho


def test_the_model_keeps_no_hook() -> None:
    model, params = case("mega")
    x, _ = labelled_images(model, 2)
    signals(model, sites(model, params), x)
    assert not any(module._forward_hooks for module in model.modules())
