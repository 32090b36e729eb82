"""HiPPO-LegS: matrices that store a sequence as Legendre coefficients, and their diagonal plus low-rank form.

A (N, N), B (N,): the state of x' = A x + B u holds the coefficients of u's history in Legendre polynomials (Gu et al.
2020, HiPPO, theorem 2). P (N,): the rank-one part, A = S - 1/2 I - P P^T with S skew-symmetric (Gu et al. 2022, S4,
theorem 1). Lambda (N/2,): the eigenvalues of A + P P^T with positive imaginary part; the others are their conjugates.
"""

from __future__ import annotations

import torch
from torch import Tensor


def legs(state: int) -> tuple[Tensor, Tensor]:
    """The matrices A (N, N) and B (N,) of HiPPO-LegS in float64; N = `state`.

    A[n, k] = -sqrt(2n+1) sqrt(2k+1) below the diagonal, -(n+1) on it, 0 above; B[n] = sqrt(2n+1).
    """
    n = torch.arange(state, dtype=torch.float64)
    root = torch.sqrt(2 * n + 1)
    A = -torch.tril(torch.outer(root, root), diagonal=-1) - torch.diag(n + 1)
    return A, root


def normal_part(state: int) -> tuple[Tensor, Tensor]:
    """The eigenvalues (N,) and eigenvectors (columns of (N, N)) of A + P P^T = HiPPO-N; complex128, N = `state`.

    They are sorted by imaginary part. The imaginary parts are symmetric about zero; every real part is -1/2.
    """
    A, _ = legs(state)
    P = low_rank_part(state)
    normal = A + torch.outer(P, P)
    skew = (normal - normal.T) / 2
    frequencies, basis = torch.linalg.eigh(-1j * skew.to(torch.complex128))
    return torch.complex(torch.full_like(frequencies, -0.5), frequencies), basis


def low_rank_part(state: int) -> Tensor:
    """The vector P (N,) of the rank-one part, float64."""
    return torch.sqrt(torch.arange(state, dtype=torch.float64) + 0.5)


def nplr(state: int) -> tuple[Tensor, Tensor, Tensor]:
    """HiPPO-LegS in the basis in which A = diag(Lambda) - P P^*: Lambda, P and B, each (N/2,) complex128.

    Only one of each conjugate pair is kept. N = `state` must be even. The output of the real system with N states is
    twice the real part of this half's output.
    """
    _, B = legs(state)
    Lambda, basis = normal_part(state)
    half = Lambda.imag > 0
    to_eigen = basis[:, half].conj().T  # (N/2, N)
    return Lambda[half], to_eigen @ low_rank_part(state).to(torch.complex128), to_eigen @ B.to(torch.complex128)
