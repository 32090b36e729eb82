"""HiPPO-LegS: the matrices that remember a sequence as Legendre coefficients, and their diagonal plus low-rank form.

A (N, N), B (N,): x' = A x + B u keeps the coefficients of u's history on Legendre polynomials (Gu et al. 2020, HiPPO,
theorem 2). P (N,): the rank-one part, A = S - 1/2 I - P P^T with S skew-symmetric (Gu et al. 2022, S4, theorem 1).
Lambda (N/2,): the eigenvalues of A + P P^T with positive imaginary part; the other half are their conjugates.
"""

from __future__ import annotations

import torch
from torch import Tensor


def legs(state: int) -> tuple[Tensor, Tensor]:
    """A (N, N) and B (N,) of HiPPO-LegS in float64, N = `state`.

    A[n, k] = -sqrt(2n+1) sqrt(2k+1) below the diagonal, -(n+1) on it, 0 above; B[n] = sqrt(2n+1).
    """
    n = torch.arange(state, dtype=torch.float64)
    root = torch.sqrt(2 * n + 1)
    A = -torch.tril(torch.outer(root, root), diagonal=-1) - torch.diag(n + 1)
    return A, root


def nplr(state: int) -> tuple[Tensor, Tensor, Tensor]:
    """HiPPO-LegS in the basis where A = diag(Lambda) - P P^*: Lambda, P and B, each (N/2,) complex128.

    One of each conjugate pair is kept; a real system of N = `state` (even) states is twice the real part of this half.
    """
    A, B = legs(state)
    P = torch.sqrt(torch.arange(state, dtype=torch.float64) + 0.5)
    normal = A + torch.outer(P, P)
    skew = (normal - normal.T) / 2
    frequencies, basis = torch.linalg.eigh(-1j * skew.to(torch.complex128))
    half = frequencies > 0
    to_eigen = basis[:, half].conj().T  # (N/2, N)
    Lambda = torch.complex(torch.full_like(frequencies[half], -0.5), frequencies[half])
    return Lambda, to_eigen @ P.to(torch.complex128), to_eigen @ B.to(torch.complex128)
