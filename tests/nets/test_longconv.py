"""Routes of the convolution against the plain sum, and against each other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets import longconv
from ssmlab.nets.longconv import (
    FixedConvolution,
    by_fft,
    by_toeplitz,
    channel_first,
    convolve,
    toeplitz_columns,
    two_sided,
)

ROUTES = {
    "toeplitz": by_toeplitz,
    "blocks of 1": lambda u, taps: by_toeplitz(u, taps, 1),
    "blocks of 4": lambda u, taps: by_toeplitz(u, taps, min(4, u.shape[-1])),
    "fft": by_fft,
    "chosen": convolve,
}


def by_definition(u: Tensor, taps: Tensor) -> Tensor:
    """The sum over all lags, as in the definition."""
    length = u.shape[-1]
    lags = taps if taps.shape[-1] == 2 * length - 1 else F.pad(taps, (length - 1, 0))
    y = torch.zeros_like(u)
    for t in range(length):
        for s in range(length):
            y[:, :, t] += lags[:, length - 1 + t - s, None] * u[:, :, s]
    return y


sizes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 19), st.integers(0, 2**16))


@settings(deadline=None, max_examples=25)
@given(sizes, st.booleans())
def test_every_route_equals_the_definition_and_its_gradients(sizes: tuple[int, int, int, int], causal: bool) -> None:
    width, batch, length, seed = sizes
    generator = torch.Generator().manual_seed(seed)
    u, weight = torch.randn(2, width, batch, length, generator=generator, dtype=torch.float64)
    taps = torch.randn(width, length if causal else 2 * length - 1, generator=generator, dtype=torch.float64)
    u.requires_grad_()
    taps.requires_grad_()
    expected = by_definition(u, taps)
    gradients = torch.autograd.grad((expected * weight).sum(), [u, taps])
    for route in ROUTES.values():
        y = route(u, taps)
        torch.testing.assert_close(y, expected)
        for mine, plain in zip(torch.autograd.grad((y * weight).sum(), [u, taps]), gradients, strict=True):
            torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("lags", [20, 39])
@pytest.mark.parametrize("entries", [1, 200, 2**18])
def test_the_fft_gives_the_same_in_groups_of_channels(monkeypatch: pytest.MonkeyPatch, lags: int, entries: int) -> None:
    u, weight = torch.randn(2, 5, 2, 20)
    taps = torch.randn(5, lags)
    found = []
    for size in (2**30, entries):
        monkeypatch.setattr(longconv, "FFT_ENTRIES", size)
        inputs = u.requires_grad_(), taps.requires_grad_()
        y = by_fft(*inputs)
        found.append((y, *torch.autograd.grad((y * weight).sum(), inputs)))
    assert len(longconv.channel_groups(u, 40)) == {1: 5, 200: 3, 2**18: 1}[entries]
    for whole, grouped in zip(*found, strict=True):
        torch.testing.assert_close(grouped, whole)


@pytest.mark.parametrize("lags", [5, 9])
def test_gradients_of_gradients_pass_through_the_fft(lags: int) -> None:
    u, taps = torch.randn(2, 2, 5, dtype=torch.float64), torch.randn(2, lags, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(by_fft, (u.requires_grad_(), taps.requires_grad_()))


def test_the_fft_gives_only_the_requested_gradients() -> None:
    u, taps = torch.randn(2, 2, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda u: by_fft(u, taps), (u.requires_grad_(),))
    assert torch.autograd.gradgradcheck(lambda u: by_fft(u, taps).square(), (u,))
    assert torch.autograd.gradcheck(lambda taps: by_fft(u.detach(), taps), (taps.requires_grad_(),))


@pytest.mark.parametrize("lags", [11, 21])
@pytest.mark.parametrize("block", [11, 4])
@pytest.mark.parametrize("pays", [True, False])
def test_a_fixed_convolution_is_the_same_map_by_either_route(
    monkeypatch: pytest.MonkeyPatch, lags: int, block: int, pays: bool
) -> None:
    u, taps = torch.randn(3, 2, 11, dtype=torch.float64), torch.randn(3, lags, dtype=torch.float64)
    monkeypatch.setattr(longconv, "BLOCK", block)
    fixed = FixedConvolution(taps, 11)
    for table in ("TOKENS_A_SEQUENCE", "FIXED_TOKENS_A_SEQUENCE"):
        monkeypatch.setattr(longconv, table, 32 if pays else 0)
    monkeypatch.setattr(longconv, "by_spectrum" if pays else "by_columns", None)  # the other route is not taken
    torch.testing.assert_close(fixed(u), by_definition(u, taps))
    torch.testing.assert_close(convolve(u, taps), by_definition(u, taps))


def test_a_toeplitz_matrix_repeats_the_taps_along_its_diagonals() -> None:
    whole = toeplitz_columns(torch.arange(5.0)[None], 3, 3)
    assert whole[0].tolist() == [[2, 3, 4], [1, 2, 3], [0, 1, 2]]
    assert toeplitz_columns(torch.tensor([[7.0]]), 1, 1).tolist() == [[[7.0]]]
    causal = toeplitz_columns(torch.tensor([[1.0, 2.0, 3.0]]), 3, 3)
    assert causal[0].tolist() == [[1, 2, 3], [0, 1, 2], [0, 0, 1]]
    assert toeplitz_columns(torch.tensor([[1.0, 2.0, 3.0]]), 3, 2)[0].tolist() == [[2, 3], [1, 2], [0, 1]]


def test_the_two_sides_of_a_kernel_meet_at_the_present() -> None:
    assert two_sided(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])).tolist() == [
        [30, 20, 11, 2, 3]
    ]


@pytest.mark.parametrize("length", [1, 49, 1024, 4096])
def test_no_matrix_is_kept_beyond_the_limit(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    monkeypatch.setattr(longconv, "TOEPLITZ_LIMIT", 2**18)
    columns = FixedConvolution(torch.randn(4, length), length).columns
    assert (columns is None) == (length >= 1024)
    assert columns is None or columns.numel() <= 2**18


@pytest.mark.parametrize("length", [1, 2, 3, 49, 784, 1000, 4096])
def test_fft_sizes_hold_the_convolution_and_have_small_factors(length: int) -> None:
    size = longconv.fft_size(length)
    assert 2 * length - 1 <= size <= 2.5 * length
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    assert size == 1


def test_channel_first_is_the_contiguous_transpose_of_any_memory_order() -> None:
    u = torch.randn(2, 5, 3)
    assert channel_first(u).is_contiguous()
    assert torch.equal(channel_first(u), u.permute(2, 0, 1))
    assert torch.equal(channel_first(u.transpose(0, 1).contiguous().transpose(0, 1)), u.permute(2, 0, 1))
