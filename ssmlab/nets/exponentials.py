"""Sums of complex exponentials: the kernels of diagonal state spaces, and these state spaces in real numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ssmlab.nets.chunked import Powers, StateSpace
from ssmlab.nets.shapes import Kernel, Modes, StateMatrix


class ComplexParts(NamedTuple):
    """The real and imaginary parts of complex numbers: arithmetic on real tensors is several times faster."""

    real: Tensor
    imag: Tensor

    def times(self, other: ComplexParts | Tensor) -> ComplexParts:
        """The product with other complex numbers."""
        real = self.real * other.real - self.imag * other.imag
        return ComplexParts(real, self.real * other.imag + self.imag * other.real)

    def unsqueeze(self, axis: int) -> ComplexParts:
        """The same numbers with a new axis of length 1."""
        return ComplexParts(self.real.unsqueeze(axis), self.imag.unsqueeze(axis))


def exponential_sums(weights: Sequence[Modes], rate: Modes, length: int) -> list[Kernel]:
    """K[d, l] = Re sum over n of w[d, n] exp(rate[d, n] l) for l < `length`, (D, length), for every w of `weights`.

    Each w and rate (D, n) are complex64 or complex128. With l = a T + b and T near the square root of `length`,
    exp(rate l) is exp(rate a T) exp(rate b). So two short tables and their product replace `length` exponentials for
    each mode (benchmarks/README.md).
    """
    near, far = two_tables(rate, length)
    columns = torch.cat(near, dim=2).transpose(1, 2)  # (D, 2 n, T)
    sums = []
    for weight in weights:
        real, imag = far.times(weight[:, None])  # (D, L / T, n) each
        rows = torch.bmm(torch.cat([real, -imag], dim=2), columns)  # (D, L / T, T)
        sums.append(rows.flatten(1)[:, :length])  # (D, length)
    return sums


def two_tables(rate: Modes, length: int) -> tuple[ComplexParts, ComplexParts]:
    """exp(rate b) for b < T, (D, T, n), and exp(rate a T) for a < L / T, (D, L / T, n); T^2 is near L = `length`."""
    block = math.isqrt(length - 1) + 1
    return exponentials(rate, block, 1), exponentials(rate, -(-length // block), block)


def exponentials(rate: Modes, count: int, stride: int) -> ComplexParts:
    """exp(rate k stride) for k < `count`, (D, count, n)."""
    position = stride * torch.arange(count, device=rate.device)[:, None]  # (count, 1)
    size, angle = torch.exp(rate.real[:, None] * position), rate.imag[:, None] * position  # (D, count, n) each
    return ComplexParts(size * angle.cos(), size * angle.sin())


@dataclass(frozen=True, kw_only=True)
class DiagonalRealisation(StateSpace):
    """A state space of n complex modes, in real numbers: first their real parts, then their imaginary parts."""

    weight: Tensor  # (D, n) complex128
    rate: Tensor  # (D, n) complex128

    def powers(self, count: int) -> Powers:
        """The powers for chunks of `count` tokens: those of a diagonal matrix are exponentials."""
        near, far = two_tables(self.rate, count)
        blocks = far.unsqueeze(2).times(near.unsqueeze(1))  # (D, count / T, T, n)
        inputs = ComplexParts(*(part.flatten(1, 2)[:, :count] for part in blocks))  # (D, count, n)
        outputs = inputs.times((self.weight * self.rate.exp())[:, None])
        carry = rotations(self.rate * count)
        return Powers(torch.cat(inputs, dim=2), torch.cat([outputs.real, -outputs.imag], dim=2), carry)


def diagonal_realisation(weight: Modes, rate: Modes) -> DiagonalRealisation:
    """The state space with K[d, l] = Re sum over n of weight[d, n] exp(rate[d, n] l); Re(rate) must be <= 0."""
    weight, rate = weight.to(torch.complex128), rate.to(torch.complex128)
    B = torch.cat([torch.ones_like(rate.real), torch.zeros_like(rate.real)], dim=1)  # (D, 2 n)
    C = torch.cat([weight.real, -weight.imag], dim=1)  # (D, 2 n)
    return DiagonalRealisation(B=B, C=C, weight=weight, rate=rate)


def rotations(rate: Modes) -> StateMatrix:
    """The real matrix (D, 2 n, 2 n) that multiplies n complex numbers by exp(rate); real before imaginary parts."""
    factors = rate.exp()
    real, imaginary = torch.diag_embed(factors.real), torch.diag_embed(factors.imag)
    return torch.cat([torch.cat([real, -imaginary], dim=2), torch.cat([imaginary, real], dim=2)], dim=1)


def phi(z: Tensor) -> Tensor:
    """(e^z - 1) / z for complex z, and 1 for z = 0: the factor of the input map in a zero-order hold."""
    zero = z == 0
    safe = torch.where(zero, torch.ones_like(z), z)
    return torch.where(zero, torch.ones_like(z), torch.expm1(safe) / safe)
