"""HiPPO-LegS against its definition, entry by entry, and its diagonal plus low-rank form against the matrix."""

from __future__ import annotations

import math

import pytest
import torch

from ssmlab.nets.hippo import legs, nplr


@pytest.mark.parametrize("state", [1, 2, 7, 16])
def test_the_legs_matrix_equals_its_closed_form(state: int) -> None:
    A, B = legs(state)
    for n in range(state):
        assert B[n].item() == pytest.approx(math.sqrt(2 * n + 1))
        for k in range(state):
            expected = -math.sqrt((2 * n + 1) * (2 * k + 1)) if n > k else -(n + 1) if n == k else 0
            assert A[n, k].item() == pytest.approx(expected)


@pytest.mark.parametrize("state", [2, 8, 64])
def test_diagonal_plus_low_rank_form_has_the_same_impulse_response(state: int) -> None:
    A, B = legs(state)
    Lambda, P, b = nplr(state)
    Lambda, P, b = (torch.cat([half, half.conj()]) for half in (Lambda, P, b))
    low_rank = torch.diag(Lambda) - torch.outer(P, P.conj())
    # Quantities that no change of basis alters: B^T B, B^T A B, B^T A^2 B, and the spectrum's symmetric functions.
    dense, mine = B, b
    for _ in range(4):
        value = (b.conj() @ mine).real.item()
        assert value == pytest.approx((B @ dense).item(), rel=1e-9)
        dense, mine = A @ dense, low_rank @ mine
    assert torch.linalg.det(low_rank / state).real.item() == pytest.approx(torch.linalg.det(A / state).item(), rel=1e-6)


def test_half_of_the_spectrum_is_kept_and_decays() -> None:
    Lambda, P, B = nplr(16)
    assert Lambda.shape == P.shape == B.shape == (8,)
    assert (Lambda.imag > 0).all()
    assert torch.allclose(Lambda.real, torch.full((8,), -0.5, dtype=torch.float64))
