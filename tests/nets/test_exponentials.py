"""Sums of exponentials by two short tables against every term by itself, and their state spaces against dense ones."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets.chunked import Realisation
from ssmlab.nets.exponentials import diagonal_realisation, exponential_sums, rotations


def modes(width: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights and decaying rates (width, count), complex128."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(width, count, dtype=torch.complex128, generator=generator)
    decay, frequency = torch.rand(2, width, count, dtype=torch.float64, generator=generator)
    return weight, torch.complex(-0.2 * decay, 6 * frequency - 3)


def by_tables(weight: Tensor, rate: Tensor, length: int) -> Tensor:
    return exponential_sums([weight], rate, length)[0]


def term_by_term(weight: Tensor, rate: Tensor, length: int) -> Tensor:
    position = torch.arange(length)
    return (weight[..., None] * torch.exp(rate[..., None] * position)).sum(1).real


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 70), st.integers(0, 2**16))
def test_two_tables_give_the_sum_and_its_gradients(width: int, count: int, length: int, seed: int) -> None:
    weight, rate = (part.requires_grad_() for part in modes(width, count, seed))
    found, expected = by_tables(weight, rate, length), term_by_term(weight, rate, length)
    torch.testing.assert_close(found, expected)
    upstream = torch.randn(width, length, dtype=torch.float64)
    for mine, other in zip(
        *(torch.autograd.grad(sums, (weight, rate), upstream) for sums in (found, expected)), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_in_float32_two_tables_are_as_near_the_exact_sum_as_its_terms() -> None:
    weight, rate = modes(16, 32, seed=0)
    exact, scale = term_by_term(weight, rate, 1024), weight.abs().sum(1, keepdim=True)
    narrow = [part.to(torch.complex64) for part in (weight, rate)]
    errors = [((sums(*narrow, 1024) - exact).abs() / scale).max() for sums in (by_tables, term_by_term)]
    assert errors[0] < 2 * errors[1]
    assert errors[0] < 1e-4


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 2**16))
def test_the_powers_of_a_diagonal_state_space_are_those_of_its_dense_matrix(count: int, steps: int, seed: int) -> None:
    weight, rate = modes(2, count, seed)
    diagonal = diagonal_realisation(weight, rate)
    dense = Realisation(A=rotations(rate), B=diagonal.B, C=diagonal.C)
    for mine, other in zip(diagonal.powers(steps), dense.powers(steps), strict=True):
        torch.testing.assert_close(mine, other)
