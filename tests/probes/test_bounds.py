"""Bounds on errors: no measured error exceeds them, and no attack breaks a certified label."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from ssmlab.nets.ads import AdaptiveScaling
from ssmlab.probes import bounds
from ssmlab.probes.bounds import (
    GELU_SLOPE,
    Bounded,
    ads_bound,
    can_be_bounded,
    certified_eps,
    certified_margins,
    glu_bound,
    norm_bound,
    output_bound,
    residual_bound,
)
from ssmlab.probes.linear import affine_map, worst_margins
from ssmlab.training.adversary import pgd
from ssmlab.training.attack import Attack
from tests.probes.models import labelled_images, model_of, params_of

ADS = {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}}
MODELS: dict[str, dict[str, object]] = {
    "s4": {},
    "s4-without-norm": {"norm": "none"},
    "dss-gelu": {"mixer": "dss", "pointwise": "gelu"},
    "s4-two-sided": {"bidirectional": True},
    "s4-glu": {"output": "glu"},
    "s4-ads": ADS,
    "s5": {"mixer": "s5"},
    "s5-glu-ads": {"mixer": "s5", "output": "glu", **ADS},
}


def corner_errors(like: Tensor, error: Tensor, count: int) -> Tensor:
    """Errors (count, ...) at the ends of what is allowed, and some inside."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.rand(count, *like.shape, generator=generator, dtype=like.dtype).mul(2).sub(1)
    signs[: count // 2] = signs[: count // 2].sign()
    return signs * error


@pytest.mark.parametrize("act", ["relu", "sigmoid", "tanh", "none"])
@pytest.mark.parametrize("parts", ["both", "scale", "bias", "constant", "sum"])
@pytest.mark.parametrize("size", [1e-3, 0.3, 3.0])
def test_no_error_of_adaptive_scaling_exceeds_its_bound(
    act: Literal["relu", "sigmoid", "tanh", "none"],
    parts: Literal["both", "scale", "bias", "constant", "sum"],
    size: float,
) -> None:
    torch.manual_seed(0)
    ads = AdaptiveScaling(4, act, parts).double()
    y = torch.randn(4, 2, 3, dtype=torch.float64)
    error = size * torch.rand_like(y)
    bounded = ads_bound(ads, Bounded(y, error))
    with torch.no_grad():
        for shift in corner_errors(y, error, 60):
            assert bool(((ads(y + shift) - ads(y)).abs() <= bounded.error * (1 + 1e-9)).all())


def test_the_slope_of_gelu_is_bounded_by_its_largest_one() -> None:
    """The slope of x Phi(x) is Phi(x) + x phi(x); its own slope, (2 - x^2) phi(x), is zero at sqrt(2)."""
    largest = stats.norm.cdf(2**0.5) + 2**0.5 * stats.norm.pdf(2**0.5)
    assert largest <= GELU_SLOPE <= 1.01 * largest


@pytest.mark.parametrize("size", [1e-4, 1e-2, 0.3, 3.0])
def test_no_error_of_layer_norm_exceeds_its_bound(size: float) -> None:
    torch.manual_seed(0)
    norm = nn.LayerNorm(6).double()
    nn.init.normal_(norm.weight)
    h = torch.randn(3, 4, 6, dtype=torch.float64)
    error = size * torch.rand_like(h)
    bounded = norm_bound(norm, Bounded(h, error))
    with torch.no_grad():
        for shift in corner_errors(h, error, 100):
            assert bool(((norm(h + shift) - norm(h)).abs() <= bounded.error * (1 + 1e-9)).all())


@pytest.mark.parametrize("size", [1e-3, 0.3, 3.0])
def test_no_error_of_a_gated_linear_unit_exceeds_its_bound(size: float) -> None:
    y = torch.randn(2, 300, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y[..., 4:] *= 0.1  # where the slope of the sigmoid is steepest
    error = size * torch.rand(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    bounded = glu_bound(Bounded(y, error))
    for shift in corner_errors(y, error, 60):
        assert bool(((F.glu(y + shift) - F.glu(y)).abs() <= bounded.error * (1 + 1e-9)).all())


def test_the_bound_of_a_margin_is_reached_by_independent_errors_of_the_heads_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other route evaluates the head at the corner that is worst for each pair of classes."""
    model, generator = model_of().double(), torch.Generator().manual_seed(0)
    h, error = torch.randn(2, 3, 16, 8, dtype=torch.float64, generator=generator)
    monkeypatch.setattr(bounds, "output_bound", lambda *_: Bounded(h, error.abs()))
    y = torch.tensor([0, 2, 4])
    with torch.no_grad():
        found = certified_margins(model, torch.zeros(3, 1, 8, 8), y, torch.zeros(3))
        for image, label in enumerate(y.tolist()):
            margins = []
            for other in set(range(5)) - {label}:
                worst = -(model.head.weight[label] - model.head.weight[other]).sign()
                logits = model.head((h[image] + worst * error[image].abs()).mean(0))
                margins.append(float(logits[label] - logits[other]))
            assert float(found[image]) == pytest.approx(min(margins))


def test_the_bound_of_layer_norm_is_its_derivative_within_a_constant_for_small_errors() -> None:
    """It can fail: a bound that were always 2 sqrt(D) would pass every test of soundness."""
    norm = nn.LayerNorm(6, elementwise_affine=True).double()
    h = torch.randn(1, 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bounded = norm_bound(norm, Bounded(h, torch.full_like(h, 1e-6)))
    jacobian = torch.autograd.functional.jacobian(lambda z: norm(z[None, None])[0, 0], h[0, 0])
    assert bool((bounded.error[0, 0] <= 5 * 1e-6 * jacobian.abs().sum(1)).all())


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("eps", [1e-4, 1e-2])
def test_no_perturbation_moves_the_output_beyond_its_bound(changes: dict[str, object], eps: float) -> None:
    model = model_of(**changes).double()
    assert can_be_bounded(params_of(**changes))
    x, _ = labelled_images(model.float(), 4)
    model, x = model.double(), x.double()
    with torch.no_grad():
        bounded = output_bound(model, x, torch.full((4,), eps, dtype=torch.float64))
        for shift in corner_errors(x, torch.full_like(x, eps), 10):
            h = model.norm(model.stem((x + shift).clamp(0, 1)))
            for layer in model.layers:
                h = layer(h)
            assert bool(((h - bounded.middle).abs() <= bounded.error * (1 + 1e-9) + 1e-12).all())


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_no_attack_breaks_a_label_at_its_certified_eps(changes: dict[str, object]) -> None:
    model = model_of(**changes)
    x, y = labelled_images(model, 20)
    found = certified_eps(model.double(), x.double(), y, 0.1)
    assert bool((found > 0).any())
    model, frozen = model.float(), model.float().freeze()
    for image, label, eps in zip(x, y, found.tolist(), strict=True):
        if eps:
            x_adv = pgd(frozen, image[None], label[None], Attack(eps=eps, alpha=eps / 4, steps=10))
            assert int(frozen(x_adv).argmax()) == int(label)


def test_a_wrong_label_is_certified_at_no_eps() -> None:
    model = model_of()
    x, y = labelled_images(model, 10)
    assert float(certified_eps(model.double(), x.double(), (y + 1) % 5, 0.1).max()) == 0.0


@pytest.mark.parametrize("mixer", ["s4", "s5"])
def test_a_bound_never_exceeds_the_exact_margin_of_a_linear_model(mixer: str) -> None:
    model = model_of(norm="none", mixer=mixer)
    x, y = labelled_images(model, 20)
    exact = worst_margins(affine_map(model), x, y, 0.01)
    with torch.no_grad():
        bound = certified_margins(model.double(), x.double(), y, torch.full((20,), 0.01, dtype=torch.float64))
    assert bool((bound <= exact + 1e-9).all())
    assert bool((bound > -100).all())


def test_one_affine_layer_is_bounded_exactly_at_the_last_token() -> None:
    """The lag-0 matrix is composed with the residual: without that the bound is above what any input reaches."""
    model = model_of(norm="none", layers=1).double()
    layer = model.layers[0]
    with torch.no_grad():
        h = Bounded(torch.zeros(1, 16, 8, dtype=torch.float64), torch.full((1, 16, 8), 0.1, dtype=torch.float64))
        bound = residual_bound(layer, h).error[0, -1]
    weights = torch.autograd.functional.jacobian(lambda z: layer(z[None])[0, -1], torch.zeros(16, 8).double())
    torch.testing.assert_close(bound, 0.1 * weights.abs().sum((1, 2)))


def test_the_certified_eps_is_the_largest_within_four_percent() -> None:
    model = model_of()
    x, y = labelled_images(model, 10)
    model, x = model.double(), x.double()
    found = certified_eps(model, x, y, 0.1)
    there = (found > 0) & (found < 0.1)
    assert bool(there.any())
    with torch.no_grad():
        assert bool((certified_margins(model, x[there], y[there], found[there]) > 0).all())
        assert bool((certified_margins(model, x[there], y[there], 1.04 * found[there]) <= 0).all())
