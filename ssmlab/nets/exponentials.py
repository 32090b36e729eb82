"""Sums of complex exponentials: the kernel of any diagonal state space."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmlab.nets.chunked import Realisation, rotations
from ssmlab.nets.shapes import Modes, OneSide, Positions


def exponential_sum(weight: Modes, rate: Modes, position: Positions) -> OneSide:
    """K[d, l] = Re sum over n of weight[d, n] exp(rate[d, n] position[d, n, l]), real (D, L), float32 or float64.

    weight, rate (D, n) complex; position real, broadcastable to (D, n, L). All large arrays are real.
    """
    decay = torch.exp(rate.real[..., None] * position)  # (D, n, L)
    angle = rate.imag[..., None] * position
    rows = torch.cat([decay * angle.cos(), decay * angle.sin()], dim=1)  # (D, 2 n, L)
    return torch.bmm(torch.cat([weight.real, -weight.imag], dim=1)[:, None], rows)[:, 0]  # (D, L)


def diagonal_realisation(weight: Modes, rate: Modes) -> Realisation:
    """The state space of K[d, l] = Re sum over n of weight[d, n] exp(rate[d, n] l); no Re(rate) may be positive."""
    weight, rate = weight.to(torch.complex128), rate.to(torch.complex128)
    A = rotations(rate.real.exp(), rate.imag)  # (D, 2 N, 2 N)
    B = torch.cat([torch.ones_like(rate.real), torch.zeros_like(rate.real)], dim=1)  # (D, 2 N)
    return Realisation(A, B, torch.cat([weight.real, -weight.imag], dim=1))


def phi(z: Tensor) -> Tensor:
    """(e^z - 1) / z for complex z, 1 at zero: what a zero-order hold makes of an input map."""
    zero = z == 0
    safe = torch.where(zero, torch.ones_like(z), z)
    return torch.where(zero, torch.ones_like(z), torch.expm1(safe) / safe)
