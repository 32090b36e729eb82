"""Cauchy sums over conjugate pairs against complex arithmetic, and the fast gradients against autograd's own."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets import cauchy as module
from ssmlab.nets.cauchy import cauchy, grouped_sums, pair_sums
from ssmlab.nets.s4 import S4Kernel


def scaled_modes(width: int, modes: int, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Decay < 0 and frequency, (width, modes) each."""
    generator = torch.Generator().manual_seed(seed)
    decay, frequency = torch.rand(2, width, modes, dtype=dtype, generator=generator)
    return -0.01 - decay, 3 * frequency


def differentiable(width: int, modes: int, seed: int) -> list[Tensor]:
    """Weights (width, 8, modes), decay and frequency, which require gradients."""
    weights = torch.randn(width, 8, modes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return [tensor.requires_grad_() for tensor in (weights, *scaled_modes(width, modes, seed))]


def angles(count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.arange(count, dtype=dtype) * (math.pi / 2 / max(1, count - 1))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.booleans(), st.integers(0, 2**16))
def test_the_sums_are_those_of_complex_arithmetic(width: int, modes: int, count: int, few: bool, seed: int) -> None:
    decay, frequency = scaled_modes(width, modes, seed)
    half, w = angles(count), torch.complex(decay, frequency)[:, None, :, None]
    v = torch.randn(width, 4, modes, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))
    point = 2j * half.sin()
    expected = (v[..., None] / (point - half.cos() * w) + v.conj()[..., None] / (point - half.cos() * w.conj())).sum(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CACHED", 1 if few else 2**17)
        torch.testing.assert_close(cauchy(v, decay, frequency, half), expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.integers(1, 60), st.integers(0, 2**16))
def test_groups_of_channels_change_neither_sums_nor_gradients(
    width: int, modes: int, count: int, cached: int, seed: int
) -> None:
    torch.manual_seed(seed)
    inputs = [
        tensor.requires_grad_() for tensor in (torch.randn(width, 8, modes).double(), *scaled_modes(width, modes, seed))
    ]
    upstream = torch.randn(width, 8, 2 * count, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CACHED", cached)
        sums = [route(*inputs, angles(count)) for route in (grouped_sums, pair_sums)]
        gradients = [torch.autograd.grad(each, inputs, upstream) for each in sums]
    torch.testing.assert_close(sums[0], sums[1])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_grouped_sums_can_be_differentiated_twice() -> None:
    assert torch.autograd.gradgradcheck(lambda *inputs: grouped_sums(*inputs, angles(3)), differentiable(2, 2, seed=0))


def test_a_long_kernel_takes_groups_and_has_the_gradients_of_the_plain_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    kernel = S4Kernel(16, 64, 1024)
    upstream = torch.randn(16, 1024)
    calls = []
    grouped = module.grouped_sums
    monkeypatch.setattr(module, "grouped_sums", lambda *args: calls.append(1) or grouped(*args))
    found = torch.autograd.grad(kernel(1024), list(kernel.parameters()), upstream)
    assert calls == [1]
    monkeypatch.setattr(module, "CACHED", 2**30)
    expected = torch.autograd.grad(kernel(1024), list(kernel.parameters()), upstream)
    assert calls == [1]
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_small_kernels_keep_the_bits_of_their_gradients() -> None:
    """Autograd adds the three parts of a gradient in the reverse order of the formula; another order rounds otherwise.

    The default study's trainings, and so the numbers in the README, depend on these bits.
    """
    decay, frequency = (part.requires_grad_() for part in scaled_modes(72, 32, 0, torch.float32))
    half = angles(33, torch.float32)
    v = torch.randn(72, 4, 32, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    real, imaginary = module.denominators(decay, frequency, half)
    over_square = (real.square() + imaginary.square()).reciprocal()
    inverse = torch.cat([real * over_square, -imaginary * over_square], dim=-1)
    along = v.real * decay[:, None] + v.imag * frequency[:, None]
    sums = torch.bmm(torch.cat([v.real, along], dim=1), inverse)
    level, slope = torch.complex(*sums.chunk(2, dim=-1)).chunk(2, dim=1)
    expected = 4j * half.sin() * level - 2 * half.cos() * slope
    found = cauchy(v, decay, frequency, half)
    assert torch.equal(found, expected)
    upstream = torch.randn(expected.shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    for mine, other in zip(
        *(torch.autograd.grad(sums, (v, decay, frequency), upstream) for sums in (found, expected)), strict=True
    ):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("length", [4, 16, 1024])
def test_the_gradients_of_a_kernel_are_right_for_step_sizes_far_below_the_initial_ones(length: int) -> None:
    """At dt 1e-5 the square of 1 / |d|^2 was infinite, and all weights of a training became NaN."""
    torch.manual_seed(0)
    kernel = S4Kernel(8, 64, length)
    with torch.no_grad():
        kernel.log_dt.copy_(torch.linspace(-8, -2, 8) * math.log(10))
    double, upstream = copy.deepcopy(kernel).double(), torch.randn(8, length)
    found = torch.autograd.grad(kernel(length), list(kernel.parameters()), upstream)
    exact = torch.autograd.grad(double(length), list(double.parameters()), upstream.double())
    for mine, other in zip(found, exact, strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))
