"""Growth along a sequence: planted laws are found, and no explosion is claimed where none was planted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ttest_1samp

from ssmlab.probes.growth import Array, fit_growth
from ssmlab.probes.perturbed_token import errors_after, growth_of, measured
from ssmlab.probes.results import GrowthFit, Trend
from tests.probes.models import model_of, random_images

DISTANCES = np.arange(1.0, 37.0)


def planted(log_error: Array, noise: float = 0.1, images: int = 20, seed: int = 0) -> GrowthFit:
    """The fit of errors whose logarithm is `log_error` (T,), with noise of its own in every image."""
    generator = np.random.default_rng(seed)
    levels = generator.normal(size=(images, 1))
    found = fit_growth(np.exp(log_error + levels + noise * generator.normal(size=(images, len(log_error)))), DISTANCES)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("log_error", "trend", "rate"),
    [
        (0.05 * DISTANCES, "grows exponentially", 0.05),
        (-0.05 * DISTANCES, "fades exponentially", -0.05),
        (0.5 * np.log(DISTANCES), "grows as a power", 0.5),
        (-1.5 * np.log(DISTANCES), "fades as a power", -1.5),
        (0.0 * DISTANCES, "bounded", 0.0),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_planted_law_is_found_with_its_rate(log_error: Array, trend: Trend, rate: float, noise: float) -> None:
    found = planted(log_error, noise)
    assert found.trend == trend
    assert found.rate == pytest.approx(rate, abs=0.01 + 0.1 * noise)
    assert found.residual == pytest.approx(noise, rel=0.1, abs=1e-9)


@pytest.mark.parametrize("distances", [8, 36])
def test_laws_are_compared_by_the_aicc_of_one_linear_regression_over_all_images(distances: int) -> None:
    """The other route: one regression with a column for every parameter, and the likelihood of its residuals."""
    images, tau = 5, DISTANCES[:distances]
    logs = 0.1 * np.log(tau) + np.random.default_rng(1).normal(scale=0.2, size=(images, distances))
    found = fit_growth(np.exp(logs), tau)
    assert found is not None
    each, count = np.eye(images), logs.size
    expected = {}
    for law, along in (("bounded", None), ("power", np.log(tau)), ("exponential", tau)):
        columns = np.kron(each, np.ones((distances, 1)))
        if along is not None:
            columns = np.hstack([columns, np.kron(each, along[:, None])])
        left = logs.flatten() - columns @ np.linalg.lstsq(columns, logs.flatten(), rcond=None)[0]
        k = columns.shape[1] + 1  # and the variance
        likelihood = norm.logpdf(left, scale=np.sqrt(np.mean(left**2))).sum()
        expected[law] = 2 * k - 2 * likelihood + 2 * k * (k + 1) / (count - k - 1)
    constant = count * (np.log(2 * np.pi) + 1)  # the same for every law
    assert {law: value + constant for law, value in found.aicc.items()} == pytest.approx(expected)


def test_the_interval_of_a_rate_is_students_over_the_slopes_of_the_images() -> None:
    rates = np.array([0.11, 0.04, 0.08, 0.09])
    found = fit_growth(np.exp(rates[:, None] * DISTANCES), DISTANCES)
    assert found is not None
    theirs = ttest_1samp(rates, 0.0).confidence_interval(0.95)
    assert (found.rate, found.low, found.high) == pytest.approx((rates.mean(), theirs.low, theirs.high))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), power=st.floats(-1.0, 1.0))
def test_no_power_law_is_called_an_explosion(seed: int, power: float) -> None:
    assert planted(power * np.log(DISTANCES), 0.1, seed=seed).trend != "grows exponentially" or abs(power) < 0.05


def test_noise_alone_is_rarely_called_an_explosion() -> None:
    """Both must happen: the exponential law wins, and the 95% interval of its rate lies above 0."""
    called = sum(planted(0.0 * DISTANCES, 0.5, seed=seed).trend == "grows exponentially" for seed in range(400))
    assert called <= 400 * 0.025 + 8


def test_a_saturating_error_is_no_explosion() -> None:
    assert planted(-np.exp(-DISTANCES / 3), 0.05).trend != "grows exponentially"


def test_images_that_disagree_on_the_rate_are_no_explosion() -> None:
    """The residuals of each image are tiny, but the mean over images does not grow."""
    rates = np.linspace(-0.1, 0.1, 20)[:, None]
    found = fit_growth(np.exp(rates * DISTANCES), DISTANCES)
    assert found is not None and found.law == "exponential" and found.trend == "bounded"


def test_errors_are_followed_until_one_vanishes() -> None:
    errors = np.exp(-0.5 * DISTANCES) * np.ones((3, 1))
    errors[1, 20:] = 0.0
    found = fit_growth(errors, DISTANCES)
    assert found is not None and found.rate == pytest.approx(-0.5)


@pytest.mark.parametrize("errors", [np.ones((1, 36)), np.zeros((3, 36)), np.full((3, 36), np.nan)])
def test_no_law_is_fitted_to_one_image_or_to_zero_errors(errors: Array) -> None:
    assert fit_growth(errors, DISTANCES) is None


@pytest.mark.parametrize("rate", [-0.1, 0.1])
def test_a_recurrence_grows_at_its_own_rate(rate: float) -> None:
    """h[t] = e^rate h[t-1] + u[t] on a long sequence: the measured profile has this rate, and the end too."""

    def recurrence(u: torch.Tensor) -> torch.Tensor:
        states, state = [], torch.zeros_like(u[:, 0])
        for token in u.unbind(1):
            state = np.exp(rate) * state + token
            states.append(state)
        return torch.stack(states, dim=1)

    u = torch.randn(5, 40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = errors_after(recurrence, u, recurrence(u), 3, torch.Generator().manual_seed(1))
    assert errors.shape == (5, 36)
    np.testing.assert_allclose(errors, np.exp(rate * np.arange(1, 37)) * np.ones((5, 1)), rtol=1e-9)


@pytest.mark.parametrize("mixer", ["s4", "dss", "s5", "mamba"])
def test_every_layer_and_the_whole_model_are_measured(mixer: str) -> None:
    model = model_of(mixer=mixer).double()
    found = growth_of(model, random_images(4).double(), torch.Generator().manual_seed(0))
    assert [each.system for each in found] == ["layer 1", "layer 2", "all layers"]
    for each in found:
        assert (each.at, len(each.profile)) == (4, 11) and min(each.profile) > 0
        assert each.distances == tuple(sorted(each.distances)) and each.distances[-1] == 15
        assert each.after is not None and each.over is not None


def test_the_profile_of_a_linear_layer_does_not_depend_on_the_size_of_its_input() -> None:
    block, generator = model_of(norm="none", layers=1).double().layers[0].mixer, torch.Generator()
    block.output.bias.data.zero_()
    u = torch.randn(3, 16, 8, dtype=torch.float64)
    with torch.no_grad():
        one = errors_after(block, u, block(u), 2, generator.manual_seed(0))
        ten = errors_after(block, 10 * u, block(10 * u), 2, generator.manual_seed(0))
    np.testing.assert_allclose(one, ten, rtol=1e-9)


@pytest.mark.parametrize(("rate", "explodes"), [(-0.1, False), (0.0, False), (0.1, True)])
def test_a_recurrence_explodes_if_it_grows_from_any_token_to_any_other(rate: float, explodes: bool) -> None:
    def recurrence(u: torch.Tensor) -> torch.Tensor:
        state, states = torch.zeros_like(u[:, 0]), []
        for token in u.unbind(1):
            state = np.exp(rate) * state + token
            states.append(state)
        return torch.stack(states, dim=1)

    u = torch.randn(5, 40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert measured("planted", recurrence, u, torch.Generator().manual_seed(1)).explodes == explodes


def test_an_output_that_is_larger_at_later_tokens_is_no_explosion() -> None:
    """After one token the error grows exponentially with the distance, because later tokens are larger; the error in
    the last token does not.
    """
    u = torch.randn(5, 40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    size = torch.exp(0.1 * torch.arange(40.0, dtype=torch.float64))[:, None]
    found = measured("planted", lambda v: size * v.cumsum(1), u, torch.Generator().manual_seed(1))
    assert found.after is not None and found.after.trend == "grows exponentially"
    assert not found.explodes
