"""Gains of fixed SSMs against the inputs that reach them, and tightness against measured errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssmlab.nets.longconv import by_fft, two_sided
from ssmlab.nets.s5 import S5
from ssmlab.probes.gains import energy_gains, impulse_responses, peak_gains, tightness, toeplitz, worst_input
from tests.probes.models import model_of

LENGTH = 16
CHANGES = [
    {"mixer": "s4"},
    {"mixer": "dss"},
    {"mixer": "s4d", "s4d": {"discretisation": "zoh", "initial": "lin"}},
    {"mixer": "s4", "bidirectional": True},
]
NAMES = ["s4", "dss", "s4d", "two-sided"]


def taps_of(changes: dict[str, object]) -> Tensor:
    return impulse_responses(model_of(**changes).layers[0].mixer.ssm, LENGTH)


@pytest.mark.parametrize("changes", CHANGES, ids=NAMES)
def test_the_toeplitz_matrix_is_the_convolution(changes: dict[str, object]) -> None:
    taps = taps_of(changes)
    u = torch.randn(len(taps), 3, LENGTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    product = torch.einsum("dts,dbs->dbt", toeplitz(taps, LENGTH), u)
    torch.testing.assert_close(product, by_fft(u, taps))


@pytest.mark.parametrize("changes", CHANGES, ids=NAMES)
def test_the_sign_input_reaches_the_peak_gain(changes: dict[str, object]) -> None:
    taps = taps_of(changes)
    worst = worst_input(taps, LENGTH)[:, None]  # (D, 1, L)
    zero = torch.zeros_like(worst)
    found = tightness(taps, zero, worst, zero, by_fft(worst, taps))
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-12, atol=0)


@pytest.mark.parametrize("changes", CHANGES, ids=NAMES)
def test_no_input_exceeds_the_gains(changes: dict[str, object]) -> None:
    taps = taps_of(changes)
    u = torch.randn(len(taps), 50, LENGTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = by_fft(u, taps)
    gains = energy_gains(taps, LENGTH)
    assert gains is not None
    ratio = y.norm(dim=-1) / u.norm(dim=-1)  # (D, B)
    assert bool((ratio <= gains[0][:, None] * (1 + 1e-9)).all())
    assert bool((ratio >= gains[1][:, None] * (1 - 1e-9)).all())
    assert bool((tightness(taps, torch.zeros_like(u), u, torch.zeros_like(u), y) <= 1 + 1e-9).all())


def test_the_peak_gain_of_a_causal_kernel_is_the_sum_of_its_absolute_taps() -> None:
    taps = torch.tensor([[1.0, -2.0, 0.5]])
    assert peak_gains(taps, 3).tolist() == [[3.5]]


def test_the_peak_gain_of_a_two_sided_kernel_counts_the_taps_that_meet_in_one_token() -> None:
    """The first token sees only the future, the last only the past: no token sees all taps."""
    taps = two_sided(torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[0.0, 2.0, 4.0]]))  # lags -2 to 2: 4 2 1 1 1
    assert peak_gains(taps, 3).tolist() == [[7.0]]


def test_the_impulse_responses_of_s5_are_the_layer() -> None:
    torch.manual_seed(0)
    layer = S5(4, 6)
    taps = impulse_responses(layer, LENGTH)
    u = torch.randn(4, 2, LENGTH)
    direct = torch.zeros(4, 2, LENGTH, dtype=torch.float64)
    for lag in range(LENGTH):
        direct[..., lag:] += torch.einsum("oi,ibl->obl", taps[..., lag], u[..., : LENGTH - lag].double())
    torch.testing.assert_close(direct.float(), layer(u), rtol=1e-4, atol=1e-5)


def test_the_sign_input_of_s5_reaches_its_peak_gain() -> None:
    torch.manual_seed(0)
    taps = impulse_responses(S5(4, 6), LENGTH)
    for out in range(4):
        worst = taps[out].flip(-1).sign()  # (in, L): at the last token every lag meets its sign
        reached = (taps[out].flip(-1) * worst).sum()
        assert float(reached) == pytest.approx(float(peak_gains(taps, LENGTH)[out].sum()))
