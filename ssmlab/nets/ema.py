"""The multi-dimensional damped exponential moving average of Mega (Ma et al. 2023, section 3.1).

h: dimensions per channel (`ema`). alpha, delta (2, D, h): decay and damping, after a sigmoid. beta, gamma (2, D, h):
the maps from a channel to its h dimensions and back. omega (D,): weight of the input itself. The leading dimension 2 is
the direction: past, then future.

    x^[t] = delta * (beta u[t]) + (1 - alpha * delta) * x^[t-1],   y[t] = gamma^T x^[t] / sqrt(h)      (eq. 4)

It is a diagonal linear state space with A = 1 - alpha delta in (0, 1), and so it is a convolution. The tap at lag k is
the sum over h of delta beta gamma (1 - alpha delta)^k / sqrt(h). Both directions include the present token. Together
with omega u they form one kernel over all lags, so a layer needs one convolution.

Where we differ: the paper weights the new input by alpha, the published code by delta; both keep 1 - alpha delta of the
old state. We follow the published code (the two forms differ only in the names of alpha and delta). The published code
stacks the directions along D.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ssmlab.nets.chunked import ChunkedConvolution, Realisation, chunks_pay, even_chunks
from ssmlab.nets.longconv import FixedConvolution, convolve, two_sided
from ssmlab.nets.mixer import full_precision
from ssmlab.nets.shapes import ChannelFirst, Taps


class DampedEma(nn.Module):
    """Bidirectional EMA plus omega u on channel-first sequences, (D, B, L) -> (D, B, L)."""

    def __init__(self, width: int, dimensions: int):
        super().__init__()
        shape = (2, width, dimensions)
        signs = torch.ones(dimensions)
        signs[1::2] = -1.0
        self.alpha = nn.Parameter(torch.randn(shape) * 0.2)
        self.delta = nn.Parameter(torch.randn(shape) * 0.2)
        self.beta = nn.Parameter(torch.randn(shape) * 0.02 + signs)
        self.gamma = nn.Parameter(torch.randn(shape))
        self.omega = nn.Parameter(torch.randn(width))

    def ssm_parameters(self) -> list[nn.Parameter]:
        """alpha and delta, which correspond to A and the step size, and beta, which corresponds to B."""
        return [self.alpha, self.delta, self.beta]

    def taps(self, length: int) -> Taps:
        """The taps of all lags (D, 2L-1), float32 (float64 if the module is float64), also under autocast."""
        with torch.autocast(self.alpha.device.type, enabled=False):
            alpha, delta = full_precision(self.alpha).sigmoid(), full_precision(self.delta).sigmoid()
            lag = torch.arange(length, dtype=alpha.dtype, device=alpha.device)
            closest = 1 - torch.finfo(alpha.dtype).eps / 2  # to 1; at 1, log1p(-1) times a lag of 0 is NaN
            powers = torch.exp(torch.log1p(-(alpha * delta).clamp(max=closest))[..., None] * lag)  # (2, D, h, L)
            weight = delta * full_precision(self.beta) * full_precision(self.gamma) / math.sqrt(alpha.shape[-1])
            past, future = torch.einsum("cdh,cdhl->cdl", weight, powers)  # (D, L) each
            present = F.pad(full_precision(self.omega)[:, None], (0, length - 1))  # (D, L)
            return two_sided(past + present, future)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """The moving averages (D, B, L) of u (D, B, L)."""
        return convolve(u, self.taps(u.shape[-1]))

    def freeze(self, length: int) -> nn.Module:
        """The same map for `length` tokens with precomputed taps or matrices."""
        with torch.no_grad():
            if not chunks_pay(length, self.alpha.shape[-1]):
                return FixedConvolution(self.taps(length), length)
            feed = full_precision(self.omega)
            return ChunkedConvolution(feed, length, even_chunks(length, self.alpha.shape[-1]), *self.realisations())

    def realisations(self) -> tuple[Realisation, ...]:
        """The state spaces of the two directions, without omega."""
        alpha, delta = self.alpha.double().sigmoid(), self.delta.double().sigmoid()  # (2, D, h)
        weight = delta * self.beta.double() * self.gamma.double() / math.sqrt(alpha.shape[-1])
        decays = torch.diag_embed(1 - alpha * delta)  # (2, D, h, h)
        return tuple(Realisation(A=A, B=torch.ones_like(C), C=C) for A, C in zip(decays, weight, strict=True))
