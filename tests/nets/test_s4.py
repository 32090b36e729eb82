"""S4's kernel against the dense discretised system, and the layer's recurrence against its convolution."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets.longconv import by_fft, by_toeplitz
from ssmlab.nets.mixer import as_complex
from ssmlab.nets.s4 import S4Kernel, length_corrected
from ssmlab.nets.ssm_block import LinearSsm


def double(kernel: S4Kernel) -> S4Kernel:
    return kernel.double()


def discrete_system(kernel: S4Kernel) -> tuple[Tensor, Tensor, Tensor]:
    """A_ (D, N, N), B_ (D, N), true C (D, N) of the layer, from equation 3, dense, with no identity used."""

    def whole(half: Tensor) -> Tensor:
        return torch.cat([half, half.conj()], dim=-1)

    P, B, stored = (whole(as_complex(p.detach())) for p in (kernel.P, kernel.B, kernel.C))
    Lambda = whole(torch.complex(-kernel.log_decay.exp(), kernel.frequency.detach()))
    A = torch.diag(Lambda) - torch.outer(P, P.conj())
    dt = kernel.log_dt.detach().exp()[:, None, None]
    eye = torch.eye(len(A), dtype=A.dtype)
    left = torch.linalg.inv(eye - dt / 2 * A)
    discrete = left @ (eye + dt / 2 * A)
    correction = eye - torch.linalg.matrix_power(discrete, kernel.length)
    C = torch.linalg.solve(correction.transpose(1, 2), stored.unsqueeze(-1)).squeeze(-1)
    return discrete, (left @ (dt * B[:, None])).squeeze(-1), C


def recurrence(kernel: S4Kernel, u: Tensor) -> Tensor:
    """y (D, B, L) by stepping x[t] = A_ x[t-1] + B_ u[t], y[t] = C x[t]."""
    A, B, C = discrete_system(kernel)
    state = torch.zeros(u.shape[0], u.shape[1], A.shape[-1], dtype=A.dtype)
    y = []
    for t in range(u.shape[-1]):
        state = torch.einsum("dnm,dbm->dbn", A, state) + B[:, None] * u[:, :, t, None]
        y.append(torch.einsum("dn,dbn->db", C, state).real)
    return torch.stack(y, dim=-1)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.sampled_from([2, 4, 8, 10]), st.integers(1, 23), st.integers(0, 2**16))
def test_the_s4_kernel_equals_the_dense_one(width: int, state: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    kernel = double(S4Kernel(width, state, length))
    impulse = torch.zeros(width, 1, length, dtype=torch.float64)
    impulse[..., 0] = 1
    torch.testing.assert_close(kernel(length), recurrence(kernel, impulse)[:, 0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("length", [1, 9, 16])
def test_recurrence_convolution_and_product_agree(length: int) -> None:
    torch.manual_seed(length)
    ssm = LinearSsm(double(S4Kernel(3, 6, 16)), 3).double()
    u = torch.randn(3, 2, length, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 2, length, dtype=torch.float64)
    stepped = recurrence(ssm.kernel, u) + ssm.skip[:, None, None] * u
    expected = torch.autograd.grad((stepped * weight).sum(), u)[0]
    for route in (by_toeplitz, by_fft):
        y = route(u, ssm.taps(length))
        torch.testing.assert_close(y, stepped, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(torch.autograd.grad((y * weight).sum(), u)[0], expected, rtol=1e-6, atol=1e-8)


def test_shorter_sequences_use_the_kernels_beginning_and_longer_ones_are_refused() -> None:
    kernel = S4Kernel(3, 4, 16)
    torch.testing.assert_close(kernel(5), kernel(16)[:, :5])
    with pytest.raises(ValueError, match="at most 16 tokens, not 17"):
        kernel(17)


def test_initial_output_map_is_the_one_drawn() -> None:
    torch.manual_seed(0)
    kernel = double(S4Kernel(2, 4, 8))
    _, _, C = discrete_system(kernel)
    Lambda = torch.complex(-kernel.log_decay.exp(), kernel.frequency.detach())
    again = length_corrected(C[:, :2], Lambda, as_complex(kernel.P.detach()), kernel.log_dt.detach().exp(), 8)
    torch.testing.assert_close(again, as_complex(kernel.C.detach()))


def test_the_gradients_of_an_s4_kernel_agree_with_finite_differences() -> None:
    torch.manual_seed(1)
    kernel = double(S4Kernel(2, 4, 6))
    names = list(dict(kernel.named_parameters()))

    def function(*values: Tensor) -> Tensor:
        return torch.func.functional_call(kernel, dict(zip(names, values, strict=True)), (6,))

    assert torch.autograd.gradcheck(function, tuple(kernel.parameters()))


@pytest.mark.parametrize("dt", [1e-3, 1e-1])
def test_long_kernels_are_right_in_float32(dt: float) -> None:
    torch.manual_seed(2)
    kernel = S4Kernel(2, 16, 4096)
    torch.nn.init.constant_(kernel.log_dt, float(torch.tensor(dt).log()))
    single = kernel(4096)
    gradients = torch.autograd.grad(single.square().sum(), list(kernel.parameters()))
    assert all(g.isfinite().all() for g in gradients)
    exact = double(kernel)(4096)
    assert ((single - exact).norm() / exact.norm()).item() < 2e-3


def test_kernel_is_float32_under_autocast() -> None:
    ssm = LinearSsm(S4Kernel(2, 4, 8), 2)
    outside = ssm.taps(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ssm.taps(8)
        assert ssm(torch.randn(2, 4, 8)).dtype == torch.bfloat16
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_the_real_part_of_a_is_negative_and_not_trained() -> None:
    kernel = S4Kernel(2, 4, 8)
    assert "log_decay" in dict(kernel.named_buffers())
    assert "log_decay" not in dict(kernel.named_parameters())
    assert {id(p) for p in kernel.ssm_parameters()} == {
        id(p) for name, p in kernel.named_parameters() if name in ("log_dt", "frequency", "P", "B")
    }
