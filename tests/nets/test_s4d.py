"""S4D's kernel against its recurrence and against the discretisation of a dense matrix."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets.exponentials import phi
from ssmlab.nets.mixer import as_complex
from ssmlab.nets.s4d import S4dKernel

RULES = [(rule, initial) for rule in ("zoh", "bilinear") for initial in ("lin", "inv")]


def by_recurrence(kernel: S4dKernel, length: int) -> Tensor:
    """The impulse response of each channel's dense discretised system, both of every conjugate pair in it."""
    taps = []
    for d in range(len(kernel.log_dt)):
        dt = kernel.log_dt[d].exp().item()
        half = torch.complex(-kernel.log_decay[d].exp(), kernel.frequency[d]).detach()
        A = torch.diag(torch.cat([half, half.conj()]))
        B, eye = torch.ones(len(A), dtype=A.dtype), torch.eye(len(A), dtype=A.dtype)
        stored = as_complex(kernel.C.detach())[d]
        C = torch.cat([stored, stored.conj()])
        if kernel.discretisation == "zoh":  # exp of ((dt A, dt B), (0, 0)) holds A_ and B_ in its first rows
            block = torch.zeros(len(A) + 1, len(A) + 1, dtype=A.dtype)
            block[:-1, :-1], block[:-1, -1] = dt * A, dt * B
            whole = torch.linalg.matrix_exp(block)
            discrete, held = whole[:-1, :-1], whole[:-1, -1]
        else:
            inverse = torch.linalg.inv(eye - dt / 2 * A)
            discrete, held = inverse @ (eye + dt / 2 * A), inverse @ (dt * B)
        state, row = held, []
        for _ in range(length):
            row.append((C @ state).real)
            state = discrete @ state
        taps.append(torch.stack(row))
    return torch.stack(taps)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 4), st.sampled_from([2, 4, 10]), st.integers(1, 23), st.sampled_from(RULES), st.integers(0, 2**16)
)
def test_kernel_equals_the_recurrence(width: int, state: int, length: int, rule: Any, seed: int) -> None:
    torch.manual_seed(seed)
    kernel = S4dKernel(width, state, *rule).double()
    torch.testing.assert_close(kernel(length), by_recurrence(kernel, length), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_the_gradients_of_an_s4d_kernel_agree_with_finite_differences(rule: Any) -> None:
    torch.manual_seed(0)
    kernel = S4dKernel(2, 4, *rule).double()
    names = list(dict(kernel.named_parameters()))

    def function(*values: Tensor) -> Tensor:
        return torch.func.functional_call(kernel, dict(zip(names, values, strict=True)), (6,))

    assert torch.autograd.gradcheck(function, tuple(kernel.parameters()))


def test_s4d_starts_at_the_published_eigenvalues() -> None:
    lin, inv = (S4dKernel(3, 6, "zoh", initial) for initial in ("lin", "inv"))
    torch.testing.assert_close(lin.log_decay.exp(), torch.full((3, 3), 0.5))
    assert lin.frequency[1].tolist() == pytest.approx([0, math.pi, 2 * math.pi])
    assert inv.frequency[2].tolist() == pytest.approx([6 / math.pi * (6 / (2 * n + 1) - 1) for n in range(3)])


@pytest.mark.parametrize("dt", [1e-3, 1e-1])
@pytest.mark.parametrize("rule", RULES)
def test_long_kernels_are_right_in_float32(rule: Any, dt: float) -> None:
    torch.manual_seed(1)
    kernel = S4dKernel(2, 16, *rule)
    torch.nn.init.constant_(kernel.log_dt, math.log(dt))
    single = kernel(4096)
    gradients = torch.autograd.grad(single.square().sum(), list(kernel.parameters()))
    assert all(g.isfinite().all() for g in gradients)
    exact = kernel.double()(4096)
    assert ((single - exact).norm() / exact.norm()).item() < 2e-3


def test_phi_equals_its_series_near_zero_and_is_one_at_zero() -> None:
    z = torch.tensor([0.0, 1e-9 + 1e-9j, 1e-4j, -0.1 + 0.2j], dtype=torch.complex128)
    torch.testing.assert_close(phi(z), sum(z**k / math.factorial(k + 1) for k in range(9)))
