"""Cauchy sums over conjugate pairs of modes at the roots of unity: the kernel of S4 in the frequency domain.

w (D, M) = decay + i frequency: one mode of each conjugate pair, scaled by dt. h (F,): half angles. For complex v,

    v / (2 i sin h - cos h w) + its conjugate partner
        = 2 (Re v (2 i sin h - cos h decay) - Im v cos h frequency) / d
    d = cos^2 h |w|^2 - 4 sin^2 h - 4 i sin h cos h decay

so all large arrays are real: the weights (D, 8, M) of four v, and 1 / d as real and imaginary parts side by side,
(D, M, 2 F).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssmlab.nets.cache_groups import cache_groups
from ssmlab.nets.second_gradients import plain_gradients
from ssmlab.nets.shapes import Angles, FourModes, FourSpectra, PairSums, PairWeights, RealModes, Reciprocals

# Numbers in one array (d, M, F) of a few channels: small enough for a core's cache. Kernels that are not larger than
# this take autograd's own gradients, which are as fast.
CACHED = 2**17


def cauchy(v: FourModes, decay: RealModes, frequency: RealModes, half: Angles) -> FourSpectra:
    """Sums over conjugate pairs of v / (2 i sin h - cos h w) at each half angle.

    v (D, 4, M) complex; decay < 0 and frequency (D, M), half (F,) real -> (D, 4, F) complex.
    """
    small = decay.numel() * len(half) <= CACHED or decay.device.type != "cpu"
    inverse = reciprocals(decay, frequency, half) if small else None  # first, as autograd adds gradients in this order
    along = v.real * decay[:, None] + v.imag * frequency[:, None]  # (D, 4, M)
    weights = torch.cat([v.real, along], dim=1)  # (D, 8, M)
    sums = grouped_sums(weights, decay, frequency, half) if inverse is None else torch.bmm(weights, inverse)
    level, slope = torch.complex(*sums.chunk(2, dim=-1)).chunk(2, dim=1)  # (D, 4, F) each
    return 4j * half.sin() * level - 2 * half.cos() * slope


def pair_sums(weights: PairWeights, decay: RealModes, frequency: RealModes, half: Angles) -> PairSums:
    """Sums of weights / d over the modes: real parts, then imaginary parts, (D, 8, 2 F)."""
    return torch.bmm(weights, reciprocals(decay, frequency, half))


def reciprocals(decay: RealModes, frequency: RealModes, half: Angles) -> Reciprocals:
    """1 / d: real parts, then imaginary parts, (D, M, 2 F)."""
    scale = near_reciprocal(decay, frequency)  # without it, the gradient of 1 / |d|^2 overflows for |w| < 1e-5
    real, imaginary = (part * scale for part in denominators(decay, frequency, half))
    over_square = (real.square() + imaginary.square()).reciprocal() * scale
    return torch.cat([real * over_square, -imaginary * over_square], dim=-1)  # (D, M, 2 F)


def near_reciprocal(decay: RealModes, frequency: RealModes) -> Tensor:
    """A power of two near 1 / |w| for every mode, (D, M, 1), without a gradient; multiplying by it rounds nothing."""
    exponent = torch.frexp(torch.hypot(decay, frequency).detach()).exponent
    return torch.ldexp(torch.ones_like(decay), -exponent)[..., None]


def denominators(decay: RealModes, frequency: RealModes, half: Angles) -> tuple[Tensor, Tensor]:
    """The real and imaginary parts of d, (D, M, F) each."""
    sin, cos = half.sin(), half.cos()
    radius = torch.hypot(decay, frequency)[..., None] * cos  # (D, M, F)
    real = (radius - 2 * sin) * (radius + 2 * sin)
    return real, decay[..., None] * (-4 * sin * cos)


def grouped_sums(weights: PairWeights, decay: RealModes, frequency: RealModes, half: Angles) -> PairSums:
    """`pair_sums` with a few channels at a time and the gradients below."""
    sums: Tensor = GroupedSums.apply(weights, decay, frequency, half)  # type: ignore[no-untyped-call]
    return sums


class GroupedSums(torch.autograd.Function):
    """`pair_sums` in which a few channels at a time go through all steps, and gradients are products.

    Let g be the gradient of the sums. The gradient of 1 / d at a mode is the sum over the weights of weight * g, and

        gradient of |w|^2  = -sum over weights of weight * sum over h of cos^2 h Re(conj(1 / d^2) g)
        gradient of decay  = -sum over weights of weight * sum over h of -4 sin h cos h Im(conj(1 / d^2) g)

    where the second one holds |w| fixed. The inner sums are one batched product with 1 / d^2. Forward and backward,
    D 128, F 513: 17 ms instead of 31 with M 16, and 27 instead of 63 with M 32 (one thread of an Intel Xeon,
    2026-11-27).
    """

    @staticmethod
    def forward(ctx: Any, weights: Tensor, decay: Tensor, frequency: Tensor, half: Tensor) -> Tensor:
        """The sums (D, 8, 2 F)."""
        inverse = weights.new_empty(*decay.shape, 2 * len(half))  # (D, M, 2 F)
        sums = weights.new_empty(*weights.shape[:2], 2 * len(half))  # (D, 8, 2 F)
        for some in cache_groups(len(decay), decay.shape[1] * len(half), CACHED):
            real, imaginary = denominators(decay[some], frequency[some], half)
            over_square = (real.square() + imaginary.square()).reciprocal()
            torch.mul(real, over_square, out=inverse[some, :, : len(half)])
            torch.mul(imaginary, over_square.neg_(), out=inverse[some, :, len(half) :])
            torch.bmm(weights[some], inverse[some], out=sums[some])
        ctx.save_for_backward(weights, decay, frequency, half, inverse)
        return sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the weights, the decay and the frequency."""
        weights, decay, frequency, half, inverse = ctx.saved_tensors
        if torch.is_grad_enabled():  # these gradients will be differentiated again
            return plain_gradients(pair_sums, (weights, decay, frequency, half), gradients[0])
        dweights, ddecay, dfrequency = (torch.empty_like(tensor) for tensor in (weights, decay, frequency))
        along = half.cos().square().repeat(2), (-4 * half.sin() * half.cos()).repeat(2)  # (2 F,) each
        for some in cache_groups(len(decay), decay.shape[1] * len(half), CACHED):
            g = gradients[0][some]  # (d, 8, 2 F)
            dweights[some] = torch.bmm(g, inverse[some].transpose(1, 2))
            real, imaginary = g.chunk(2, dim=-1)
            both = torch.cat([g * along[0], torch.cat([imaginary, -real], dim=-1) * along[1]], dim=1)  # (d, 16, 2 F)
            products = torch.bmm(both, squares(inverse[some]).transpose(1, 2))  # (d, 16, M)
            over_radius, over_decay = (-(part * weights[some]).sum(1) for part in products.chunk(2, dim=1))  # (d, M)
            ddecay[some] = 2 * decay[some] * over_radius + over_decay
            dfrequency[some] = 2 * frequency[some] * over_radius
        return dweights, ddecay, dfrequency, None


def squares(numbers: Reciprocals) -> Reciprocals:
    """Squares of complex numbers, all given as real parts, then imaginary parts, (D, M, 2 F)."""
    real, imaginary = numbers.chunk(2, dim=-1)
    found = torch.empty_like(numbers)
    first, second = found.chunk(2, dim=-1)
    torch.mul(real, real, out=first).addcmul_(imaginary, imaginary, value=-1)
    torch.mul(real, imaginary, out=second).mul_(2)
    return found
