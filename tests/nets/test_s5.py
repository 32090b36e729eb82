"""S5 against its recurrence, its scan, its convolution kernels and an independent implementation."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from ssmlab.nets import s5_fixed
from ssmlab.nets.hippo import legs, low_rank_part
from ssmlab.nets.mixer import as_complex
from ssmlab.nets.s5 import S5, apply


def by_recurrence(ssm: S5, u: Tensor) -> Tensor:
    """y (D, B, L) by stepping equation 6, in complex numbers."""
    Lambda, B, C = as_complex(ssm.Lambda), as_complex(ssm.B), as_complex(ssm.C)
    decay = torch.exp(Lambda * ssm.log_dt.exp())
    held = ((decay - 1) / Lambda)[:, None] * B
    state = torch.zeros(len(Lambda), u.shape[1], dtype=Lambda.dtype)
    y = []
    for t in range(u.shape[-1]):
        state = decay[:, None] * state + held @ u[..., t].to(Lambda.dtype)
        y.append((C @ state).real + ssm.skip[:, None] * u[..., t])
    return torch.stack(y, dim=-1)


def by_fft(ssm: S5, u: Tensor) -> Tensor:
    """y (D, B, L) through the spectra of all D x D kernels, K[l] = Re(C Lambda_^l B_)."""
    length, dt = u.shape[-1], ssm.log_dt.exp()
    Lambda, B, C = as_complex(ssm.Lambda), as_complex(ssm.B), as_complex(ssm.C)
    held = (torch.expm1(Lambda * dt) / Lambda)[:, None] * B
    powers = torch.exp((Lambda * dt)[:, None] * torch.arange(length))
    kernels = torch.einsum("op,pl,pi->oil", C, powers, held).real
    spectrum = torch.einsum("oif,ibf->obf", torch.fft.rfft(kernels, n=2 * length), torch.fft.rfft(u, n=2 * length))
    return torch.fft.irfft(spectrum, n=2 * length)[..., :length] + ssm.skip[:, None, None] * u


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.sampled_from([1, 2, 5, 8]), st.integers(1, 23), st.integers(0, 2**16))
def test_recurrence_scan_and_convolution_agree(width: int, state: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    ssm = S5(width, state).double()
    u = torch.randn(width, 2, length, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(width, 2, length, dtype=torch.float64)
    inputs = [u, *ssm.parameters()]
    expected = by_recurrence(ssm, u)
    gradients = torch.autograd.grad((expected * weight).sum(), inputs)
    for y in (ssm(u), by_fft(ssm, u)):
        torch.testing.assert_close(y, expected)
        for mine, plain in zip(torch.autograd.grad((y * weight).sum(), inputs), gradients, strict=True):
            torch.testing.assert_close(mine, plain)
    torch.testing.assert_close(ssm.freeze(length)(u), expected)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.sampled_from([1, 2, 5, 8]), st.integers(1, 23), st.integers(1, 400), st.integers(0, 2**16))
def test_fixed_parameters_give_the_values_and_slopes_of_the_scan_of_all_sequences(
    width: int, state: int, length: int, entries: int, seed: int
) -> None:
    torch.manual_seed(seed)
    ssm = S5(width, state).double()
    frozen = ssm.freeze(length)
    u, weight = torch.randn(2, width, 5, length, dtype=torch.float64)
    u.requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s5_fixed, "BLOCK_ENTRIES", entries)  # from one sequence at a time to all five
        y = frozen(u)
        (slopes,) = torch.autograd.grad((y * weight).sum(), u)
    for expected in (apply(u, ssm.system()), by_recurrence(ssm, u)):
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(slopes, torch.autograd.grad((expected * weight).sum(), u, retain_graph=True)[0])


def test_gradients_of_gradients_pass_through_fixed_parameters() -> None:
    torch.manual_seed(5)
    frozen = S5(2, 3).double().freeze(7)
    u = torch.randn(2, 2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(frozen, (u,))
    assert torch.autograd.gradgradcheck(lambda u: frozen(u).pow(2), (u,))


def test_the_gradients_of_s5_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    ssm = S5(2, 3).double()
    names = list(dict(ssm.named_parameters()))
    u = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)

    def function(u: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(ssm, dict(zip(names, values, strict=True)), (u,))

    assert torch.autograd.gradcheck(function, (u, *ssm.parameters()))


def test_s5_starts_at_the_spectrum_of_hippo_n() -> None:
    ssm = S5(3, 8)
    A, _ = legs(8)
    P = low_rank_part(8)
    expected = torch.linalg.eigvals(A + torch.outer(P, P))
    mine = as_complex(ssm.Lambda.detach())
    assert mine.real.tolist() == pytest.approx([-0.5] * 8, abs=1e-6)
    torch.testing.assert_close(mine.imag.sort().values.double(), expected.imag.sort().values, rtol=1e-5, atol=1e-5)
    assert ((ssm.log_dt >= math.log(1e-3)) & (ssm.log_dt <= math.log(1e-1))).all()


def test_no_mode_grows_for_any_parameters_and_a_zero_mode_is_finite() -> None:
    torch.manual_seed(1)
    ssm = S5(2, 6)
    with torch.no_grad():
        ssm.Lambda.normal_(std=100)
        ssm.Lambda[0] = 0.0
    assert (ssm.system().decay.abs() <= 1).all()
    y = ssm(torch.randn(2, 1, 4096))
    assert y.isfinite().all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.square().mean(), list(ssm.parameters())))


@pytest.mark.parametrize("dt", [1e-3, 1e-1])
def test_long_sequences_are_right_in_float32(dt: float) -> None:
    torch.manual_seed(2)
    ssm = S5(2, 16)
    torch.nn.init.constant_(ssm.log_dt, math.log(dt))
    u = torch.randn(2, 1, 4096)
    single, exact = ssm(u), by_recurrence(copy.deepcopy(ssm).double(), u.double())
    assert ((single - exact).norm() / exact.norm()).item() < 2e-3


def test_the_states_are_float32_under_autocast() -> None:
    torch.manual_seed(3)
    ssm = S5(4, 8)
    u = torch.randn(4, 2, 9)
    outside = ssm.system()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, y = ssm.system(), ssm(u)
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))
    torch.testing.assert_close(y.float(), ssm(u), rtol=0.05, atol=0.05)


def test_complex_parameters_survive_being_saved() -> None:
    ssm, other = S5(3, 4), S5(3, 4)
    u = torch.randn(3, 2, 5)
    other.load_state_dict(load(save(ssm.state_dict())))
    assert torch.equal(other(u), ssm(u))
    assert torch.equal(copy.deepcopy(ssm).double().float()(u), ssm(u))


def test_s5_pytorch_gives_the_same() -> None:
    theirs = pytest.importorskip("s5", reason="s5-pytorch is not installed").S5(6, 8)
    torch.manual_seed(4)
    ssm, seq = S5(6, 8), theirs.seq
    assert [seq.Lambda.shape, seq.B.shape, seq.C.shape] == [(8,), (8, 6, 2), (6, 8)]
    with torch.no_grad():
        for mine, published in ((ssm.Lambda, seq.Lambda), (ssm.C, seq.C)):
            mine.copy_(torch.view_as_real(published))
        for mine, published in ((ssm.B, seq.B), (ssm.log_dt, seq.log_step), (ssm.skip, seq.D)):
            mine.copy_(published)
    u = torch.randn(6, 2, 19, requires_grad=True)
    expected, y = theirs(u.permute(1, 2, 0)).permute(2, 0, 1), ssm(u)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    weight = torch.randn_like(y)
    mine, published = (torch.autograd.grad((out * weight).sum(), u)[0] for out in (y, expected))
    torch.testing.assert_close(mine, published, rtol=1e-4, atol=1e-5)
