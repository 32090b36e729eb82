"""The convolution in chunks against the FFT and the recurrence, for every kernel that has a state space."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets.chunked import ChunkedConvolution, Realisation, StateSpace, even_chunks, squares_up_to
from ssmlab.nets.dss import DssKernel
from ssmlab.nets.ema import DampedEma
from ssmlab.nets.longconv import FixedConvolution, by_fft
from ssmlab.nets.mixer import SsmKernel
from ssmlab.nets.s4 import S4Kernel
from ssmlab.nets.s4d import S4dKernel
from ssmlab.nets.ssm_block import LinearSsm


def make(name: str, width: int, state: int, length: int) -> SsmKernel:
    if name == "s4":
        return S4Kernel(width, state, length).double()
    if name == "dss":
        return DssKernel(width, state).double()
    return S4dKernel(width, state, "bilinear", "inv").double()


def by_recurrence(u: Tensor, system: StateSpace, feed: Tensor) -> Tensor:
    """y (D, B, L) by stepping h[t] = A h[t-1] + B u[t], y[t] = C h[t] + feed u[t]."""
    state, y, A = torch.zeros(*u.shape[:2], system.B.shape[1], dtype=u.dtype), [], system.powers(1).carry
    for t in range(u.shape[-1]):
        state = state @ A.transpose(1, 2) + u[:, :, t, None] * system.B[:, None]
        y.append((state * system.C[:, None]).sum(-1) + feed[:, None] * u[:, :, t])
    return torch.stack(y, dim=-1)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["s4", "s4d", "dss"]),
    st.sampled_from([2, 4, 8]),
    st.integers(1, 40),
    st.sampled_from([1, 2, 7, 8, 12, 64]),
    st.booleans(),
    st.integers(0, 2**16),
)
@torch.no_grad()
def test_chunks_fft_and_recurrence_agree(name: str, state: int, length: int, chunk: int, both: bool, seed: int) -> None:
    torch.manual_seed(seed)
    kernels = [make(name, 3, state, length) for _ in range(2 if both else 1)]
    ssm = LinearSsm(kernels[0], 3, *kernels[1:]).double()
    u, weight = torch.randn(2, 3, 2, length, dtype=torch.float64)
    taps, systems = ssm.taps(length), [kernel.realisation(length) for kernel in kernels]
    chunked = ChunkedConvolution(ssm.skip, length, chunk, *systems)
    expected = by_recurrence(u, systems[0], ssm.skip)
    if both:
        expected = expected + by_recurrence(u.flip(-1), systems[1], 0 * ssm.skip).flip(-1)
    for route in (chunked, lambda u: by_fft(u, taps)):
        with torch.enable_grad():
            x = u.clone().requires_grad_()
            y = route(x)
            (gradient,) = torch.autograd.grad((y * weight).sum(), x)
        torch.testing.assert_close(y.detach(), expected, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(gradient, by_fft_gradient(x, taps, weight), rtol=1e-6, atol=1e-8)


def by_fft_gradient(x: Tensor, taps: Tensor, weight: Tensor) -> Tensor:
    with torch.enable_grad():
        return torch.autograd.grad((by_fft(x, taps) * weight).sum(), x)[0]


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 4), st.integers(1, 30), st.sampled_from([1, 4, 5, 32]), st.integers(0, 2**16))
def test_megas_average_in_chunks_is_its_convolution(dimensions: int, length: int, chunk: int, seed: int) -> None:
    torch.manual_seed(seed)
    ema = DampedEma(3, dimensions).double()
    u = torch.randn(3, 2, length, dtype=torch.float64)
    with torch.no_grad():
        chunked = ChunkedConvolution(ema.omega, length, chunk, *ema.realisations())
        torch.testing.assert_close(chunked(u), ema(u))


def test_gradients_of_gradients_pass_through_the_chunks() -> None:
    torch.manual_seed(0)
    kernel = make("s4d", 2, 2, 7)
    with torch.no_grad():
        chunked = ChunkedConvolution(torch.ones(2).double(), 7, 2, kernel.realisation(7))
    u = torch.randn(2, 1, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(chunked, (u,))
    assert torch.autograd.gradgradcheck(lambda u: chunked(u).pow(2), (u,))


@pytest.mark.parametrize("name", ["s4", "s4d", "dss"])
@pytest.mark.parametrize("batch", [1, 8])
def test_a_frozen_layer_takes_chunks_for_long_sequences_only(name: str, batch: int) -> None:
    torch.manual_seed(1)
    ssm = LinearSsm(make(name, 2, 4, 400).float(), 2)
    assert isinstance(ssm.freeze(49), FixedConvolution)
    frozen = ssm.freeze(400)
    assert isinstance(frozen, ChunkedConvolution)
    u = torch.randn(2, batch, 400)
    torch.testing.assert_close(frozen(u), ssm(u).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("length", "state", "chunk"),
    [(1, 32, 1), (49, 32, 49), (400, 32, 50), (784, 32, 56), (1024, 32, 64), (1024, 64, 128), (4096, 64, 128)],
)
def test_chunks_divide_the_usual_lengths(length: int, state: int, chunk: int) -> None:
    assert even_chunks(length, state) == chunk


@given(st.integers(1, 70), st.integers(1, 70))
@settings(deadline=None, max_examples=20)
def test_powers_on_both_sides_are_those_of_repeated_products(count: int, known: int) -> None:
    A = torch.randn(2, 3, 3, dtype=torch.float64) / 3
    B, C = torch.randn(2, 2, 3, dtype=torch.float64)
    inputs, outputs, power = Realisation(A=A, B=B, C=C, squares=tuple(squares_up_to(A, known))).powers(count)
    state, row = B[..., None], C[:, None] @ A
    for k in range(count):
        torch.testing.assert_close(inputs[:, k], state[..., 0])
        torch.testing.assert_close(outputs[:, k], row[:, 0])
        state, row = A @ state, row @ A
    torch.testing.assert_close(power, torch.linalg.matrix_power(A, count))


def test_a_dss_layer_with_a_growing_mode_takes_another_route() -> None:
    torch.manual_seed(2)
    ssm = LinearSsm(DssKernel(2, 4), 2)
    with torch.no_grad():
        ssm.kernel.Lambda[0, 0] = 0.5
    frozen = ssm.freeze(400)
    assert isinstance(frozen, FixedConvolution)
    u = torch.randn(2, 8, 400)
    torch.testing.assert_close(frozen(u), ssm(u).detach(), rtol=1e-4, atol=1e-4)


def test_states_are_not_in_half_precision_under_autocast() -> None:
    torch.manual_seed(3)
    ssm = LinearSsm(S4dKernel(2, 4, "zoh", "lin"), 2)
    u = torch.randn(2, 8, 400)
    expected = ssm.freeze(400)(u)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ssm.freeze(400)(u)
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=0.1)
