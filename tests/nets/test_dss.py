"""DSS's kernel against its diagonal recurrence and against a softmax written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets import dss
from ssmlab.nets.dss import DssKernel
from ssmlab.nets.mixer import as_complex


def by_softmax(kernel: DssKernel, length: int) -> Tensor:
    """K (D, L) from equation 6, the softmax shifted by its largest exponent."""
    Lambda, W, dt = as_complex(kernel.Lambda), as_complex(kernel.C), kernel.log_dt.exp()
    K = torch.zeros(len(dt), length, dtype=torch.float64)
    for d in range(len(dt)):
        for n in range(len(Lambda)):
            exponent = Lambda[n] * dt[d] * torch.arange(length)
            row = torch.exp(exponent - exponent.real.max())
            K[d] += (W[d, n] / Lambda[n] * row / row.sum()).real
    return K


def by_recurrence(kernel: DssKernel, length: int) -> Tensor:
    """The impulse response of x[l] = exp(Lambda dt) x[l-1] + u[l], y = Re(W (e^r - 1) / (Lambda (e^{rL} - 1)) x)."""
    Lambda, dt = as_complex(kernel.Lambda), kernel.log_dt.exp()[:, None]
    step = torch.exp(Lambda * dt)  # (D, N/2)
    out = as_complex(kernel.C) * (step - 1) / (Lambda * (step**length - 1))
    state = torch.ones_like(step)
    taps = []
    for _ in range(length):
        taps.append((out * state).sum(-1).real)
        state = state * step
    return torch.stack(taps, dim=-1)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.sampled_from([2, 4, 8]), st.integers(1, 23), st.integers(0, 2**16))
def test_kernel_equals_the_softmax_and_the_recurrence(width: int, state: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    kernel = DssKernel(width, state).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dss, "EPSILON", 0.0)  # it alone separates the published kernel from the softmax
        torch.testing.assert_close(kernel(length), by_softmax(kernel, length))
    torch.testing.assert_close(by_recurrence(kernel, length), by_softmax(kernel, length))


def test_the_guard_is_at_x_and_not_at_the_sum_of_the_row() -> None:
    torch.manual_seed(3)
    kernel, length = DssKernel(4, 8).double(), 5
    torch.nn.init.constant_(kernel.log_dt, math.log(2e-4))  # L dt = 1e-3, where the guard is felt
    Lambda, W = as_complex(kernel.Lambda.detach()), as_complex(kernel.C.detach())
    rate = kernel.log_dt.detach().exp()[:, None] * Lambda
    powers = torch.exp(rate[..., None] * torch.arange(length))  # (D, N/2, L)

    def inverse(x: Tensor) -> Tensor:
        return x.conj() / (x.abs().square() + 1e-7)

    at_x = W * (rate.exp() - 1) * inverse((torch.exp(rate * length) - 1) * Lambda)
    at_sum = W / Lambda * inverse(powers.sum(-1))
    guarded, other = ((weight[..., None] * powers).sum(1).real for weight in (at_x, at_sum))
    torch.testing.assert_close(kernel(length).detach(), guarded)
    torch.testing.assert_close(other, by_softmax(kernel, length).detach(), rtol=1e-6, atol=1e-6)
    assert ((guarded - other).norm() / other.norm()).item() > 0.01


def test_growing_modes_do_not_overflow() -> None:
    torch.manual_seed(0)
    kernel = DssKernel(3, 8)
    with torch.no_grad():
        kernel.Lambda[::2, 0] = 40.0
    K = kernel(1024)
    assert K.isfinite().all()
    gradients = torch.autograd.grad(K.square().sum(), list(kernel.parameters()))
    assert all(g.isfinite().all() for g in gradients)
    torch.testing.assert_close(K.double(), by_softmax(kernel.double(), 1024), rtol=1e-3, atol=1e-3)


def test_the_gradients_of_a_dss_kernel_agree_with_finite_differences() -> None:
    torch.manual_seed(1)
    kernel = DssKernel(2, 4).double()
    with torch.no_grad():
        kernel.Lambda[0, 0] = 0.3
    names = list(dict(kernel.named_parameters()))

    def function(*values: Tensor) -> Tensor:
        return torch.func.functional_call(kernel, dict(zip(names, values, strict=True)), (6,))

    assert torch.autograd.gradcheck(function, tuple(kernel.parameters()))


@pytest.mark.parametrize("dt", [1e-3, 1e-1])
def test_long_kernels_are_right_in_float32(dt: float) -> None:
    torch.manual_seed(2)
    kernel = DssKernel(2, 16)
    torch.nn.init.constant_(kernel.log_dt, float(torch.tensor(dt).log()))
    single = kernel(4096)
    gradients = torch.autograd.grad(single.square().sum(), list(kernel.parameters()))
    assert all(g.isfinite().all() for g in gradients)
    exact = kernel.double()(4096)
    assert ((single - exact).norm() / exact.norm()).item() < 1e-3
