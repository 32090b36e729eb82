"""Sums of complex exponentials, the kernels of diagonal state spaces."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmlab.nets.chunked import Realisation, rotations
from ssmlab.nets.shapes import Modes, OneSide, Positions


def exponential_sum(weight: Modes, rate: Modes, position: Positions) -> OneSide:
    """K[d, l] = Re sum over n of weight[d, n] exp(rate[d, n] position[d, n, l]), real (D, L), float32 or float64.

    weight and rate (D, n) are complex, position is real and broadcastable to (D, n, L). All large arrays are real,
    which saves time.
    """
    decay = torch.exp(rate.real[..., None] * position)  # (D, n, L)
    angle = rate.imag[..., None] * position
    rows = torch.cat([decay * angle.cos(), decay * angle.sin()], dim=1)  # (D, 2 n, L)
    return torch.bmm(torch.cat([weight.real, -weight.imag], dim=1)[:, None], rows)[:, 0]  # (D, L)


def diagonal_realisation(weight: Modes, rate: Modes) -> Realisation:
    """The state space with K[d, l] = Re sum over n of weight[d, n] exp(rate[d, n] l); Re(rate) must be <= 0."""
    weight, rate = weight.to(torch.complex128), rate.to(torch.complex128)
    A = rotations(rate.real.exp(), rate.imag)  # (D, 2 N, 2 N)
    B = torch.cat([torch.ones_like(rate.real), torch.zeros_like(rate.real)], dim=1)  # (D, 2 N)
    return Realisation(A, B, torch.cat([weight.real, -weight.imag], dim=1))


def phi(z: Tensor) -> Tensor:
    """(e^z - 1) / z for complex z, and 1 for z = 0: the factor of the input map in a zero-order hold."""
    zero = z == 0
    safe = torch.where(zero, torch.ones_like(z), z)
    return torch.where(zero, torch.ones_like(z), torch.expm1(safe) / safe)
