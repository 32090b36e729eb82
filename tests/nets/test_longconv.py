"""Routes of the convolution against the plain sum, and against each other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets import longconv
from ssmlab.nets.longconv import by_fft, by_toeplitz, causal_taps, channel_first, convolve, fixed_convolution, toeplitz

ROUTES = {"toeplitz": by_toeplitz, "fft": by_fft, "chosen": convolve}


def by_definition(u: Tensor, taps: Tensor) -> Tensor:
    length = u.shape[-1]
    y = torch.zeros_like(u)
    for t in range(length):
        for s in range(length):
            y[:, :, t] += taps[:, length - 1 + t - s, None] * u[:, :, s]
    return y


sizes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 19), st.integers(0, 2**16))


@settings(deadline=None, max_examples=25)
@given(sizes)
def test_every_route_gives_the_definition_and_its_gradients(sizes: tuple[int, int, int, int]) -> None:
    width, batch, length, seed = sizes
    generator = torch.Generator().manual_seed(seed)
    u, weight = torch.randn(2, width, batch, length, generator=generator, dtype=torch.float64)
    taps = torch.randn(width, 2 * length - 1, generator=generator, dtype=torch.float64)
    u.requires_grad_()
    taps.requires_grad_()
    expected = by_definition(u, taps)
    gradients = torch.autograd.grad((expected * weight).sum(), [u, taps])
    for route in ROUTES.values():
        y = route(u, taps)
        torch.testing.assert_close(y, expected)
        for mine, plain in zip(torch.autograd.grad((y * weight).sum(), [u, taps]), gradients, strict=True):
            torch.testing.assert_close(mine, plain)


def test_a_fixed_convolution_is_the_same_map_on_either_side_of_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    u, taps = torch.randn(3, 2, 11, dtype=torch.float64), torch.randn(3, 21, dtype=torch.float64)
    below = fixed_convolution(taps)
    monkeypatch.setattr(longconv, "TOEPLITZ_LIMIT", 3 * 11 * 11 - 1)
    above = fixed_convolution(taps)
    assert type(above) is not type(below)
    for fixed in (below, above):
        torch.testing.assert_close(fixed(u), by_definition(u, taps))
    torch.testing.assert_close(convolve(u, taps), by_definition(u, taps))


def test_toeplitz_entries() -> None:
    matrix = toeplitz(torch.arange(5.0)[None])
    assert matrix[0].tolist() == [[2, 3, 4], [1, 2, 3], [0, 1, 2]]
    assert toeplitz(torch.tensor([[7.0]])).tolist() == [[[7.0]]]


def test_causal_taps_give_no_weight_to_the_future() -> None:
    matrix = toeplitz(causal_taps(torch.tensor([[1.0, 2.0, 3.0]])))
    assert matrix[0].tolist() == [[1, 2, 3], [0, 1, 2], [0, 0, 1]]


def test_channel_first() -> None:
    u = torch.randn(2, 5, 3)
    assert channel_first(u).is_contiguous()
    assert torch.equal(channel_first(u), u.permute(2, 0, 1))
    assert torch.equal(channel_first(u.transpose(0, 1).contiguous().transpose(0, 1)), u.permute(2, 0, 1))
