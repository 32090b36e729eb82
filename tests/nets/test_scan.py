"""The parallel scan against the recurrence, real and complex, and its gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.nets.scan import by_doubling, by_recurrence, scan


def decays_and_inputs(length: int, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, *size, dtype=dtype, generator=generator) for size in (shape[1:], shape)]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.sampled_from([torch.float64, torch.complex128]), st.booleans(), st.integers(0, 2**16))
def test_the_scan_equals_the_recurrence(length: int, dtype: torch.dtype, shared: bool, seed: int) -> None:
    a, b = decays_and_inputs(length, (2, 3), dtype, seed)
    a = (a / (1 + a.abs()))[:, None] if shared else (a[:, None] * torch.ones(2, 1)) / 2
    a, b = a.requires_grad_(), b.requires_grad_()
    expected = by_recurrence(a, b)
    weight = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weight).sum().abs(), [a, b], allow_unused=length == 1)
    h = scan(a, b)
    torch.testing.assert_close(h, expected)
    torch.testing.assert_close(by_doubling(a, b), expected)
    for mine, plain in zip(torch.autograd.grad((h * weight).sum().abs(), [a, b]), wanted, strict=True):
        torch.testing.assert_close(mine, torch.zeros_like(mine) if plain is None else plain)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_gradients_of_a_scan_agree_with_finite_differences(dtype: torch.dtype) -> None:
    a, b = (t.requires_grad_() for t in decays_and_inputs(7, (2, 3), dtype, 0))
    assert torch.autograd.gradcheck(lambda a, b: scan(a[:, None], b), (a, b))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_gradients_of_a_scan_can_be_differentiated_again(dtype: torch.dtype) -> None:
    """Jacobian regularisation of S5 does so."""
    a, b = (t.requires_grad_() for t in decays_and_inputs(6, (2, 3), dtype, 3))
    assert torch.autograd.gradgradcheck(lambda a, b: scan(a[:, None], b), (a, b))


def test_a_scan_does_not_change_its_inputs() -> None:
    a, b = decays_and_inputs(9, (3,), torch.float64, 1)
    a = a[:, None].expand(9, 3)
    before = a.clone(), b.clone()
    scan(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])


@pytest.mark.parametrize("decay", [1e-30, 0.5, 0.99999])
def test_long_sequences_neither_overflow_nor_vanish(decay: float) -> None:
    a, b = torch.full((4096, 1), decay), torch.ones(4096, 1)
    h = scan(a, b)
    exact = by_recurrence(a.double(), b.double())
    assert h.isfinite().all()
    torch.testing.assert_close(h.double(), exact, rtol=1e-4, atol=0)


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 steps and b has 3"):
        scan(torch.ones(2, 1), torch.ones(3, 1))
