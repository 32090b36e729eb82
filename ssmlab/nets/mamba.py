"""Mamba: a selective state space (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces").

u (B, L, D): input. Di = 2 D: inner width, with index e. N = `d_state` real states per inner channel. R = ceil(D / 16):
rank of the step sizes. W: linear maps without bias.

    x, z = W_in u;  x = silu(conv(x))                  causal, depthwise, 4 taps                     (figure 3)
    dt~, B, C = W_x x,  dt = softplus(W_dt dt~ + b_dt)  the selection                                (algorithm 2)
    h[t, e, n] = exp(dt[t, e] A[e, n]) h[t-1, e, n] + dt[t, e] B[t, n] x[t, e],  A = -exp(A_log)      (eq. 2a, 4)
    y[t, e] = sum over n of C[t, n] h[t, e, n] + skip[e] x[t, e]                                     (eq. 2b)
    out = W_out (y * silu(z)),   with y = enhancement(y) before, if there is an enhancement

A < 0 and dt > 0 by construction, so every decay is in (0, 1). A starts as S4D-Real, -1 to -N. dt starts log-uniform in
[1e-3, 1e-1] for W_dt dt~ = 0 (section 3.6, appendix C).

Where we differ: nothing. As in the published code, dt B x is the Euler form of the zero-order hold for B; section 3.6
gives the exact form for scalar states only. Expansion 2, 4 taps and R are not settings. The enhancement is ours.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.classifier import Residual
from ssmlab.nets.layer_parts import check_no_maps, enhancement, norm
from ssmlab.nets.mixer import Mixer, frozen, full_precision
from ssmlab.nets.selective import selective_scan
from ssmlab.nets.shapes import BatchFirst, TokenFirst, Transition
from ssmlab.params import ModelParams

EXPANSION = 2
TAPS = 4


def mamba_layer(params: ModelParams, length: int) -> Mixer:  # noqa: ARG001  # all builders have the same signature
    """A Mamba layer inside a residual connection with a norm."""
    check_no_maps(params)
    enhancing = enhancement(params, EXPANSION * params.d_model)
    return Residual(MambaLayer(params.d_model, params.d_state, enhancing, params.dropout), norm(params))


class ShortConvolution(nn.Module):
    """A causal depthwise convolution along the first dimension, (L, B, Di) -> (L, B, Di)."""

    def __init__(self, channels: int):
        super().__init__()
        bound = 1 / math.sqrt(TAPS)
        self.weight = nn.Parameter(torch.empty(channels, 1, TAPS).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, x: TokenFirst) -> TokenFirst:
        """y (L, B, Di) for x (L, B, Di), as a sum of shifted products: faster than conv1d, and stays token-first."""
        length, padded = len(x), F.pad(x, (0, 0, 0, 0, TAPS - 1, 0))  # (L + 3, B, Di)
        y = self.bias.expand_as(x)
        for tap in range(TAPS):
            y = torch.addcmul(y, padded[tap : tap + length], self.weight[:, 0, tap])
        return y


class MambaLayer(Mixer):
    """A complete Mamba layer without residual and norm, (B, L, D) -> (B, L, D)."""

    full_precision_tensors = frozenset({"A", "A_log", "skip", "dt_proj"})
    A: Tensor | None

    def __init__(self, width: int, state: int, enhancement: nn.Module, dropout: float):
        super().__init__()
        inner, rank = EXPANSION * width, math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = ShortConvolution(inner)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.register_buffer("A", None, persistent=False)  # only the frozen layer has it
        self.skip = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.enhancement = enhancement
        self.dropout = nn.Dropout(dropout)
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        dt = torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus(bias) = dt

    def ssm_parameters(self) -> list[nn.Parameter]:
        """The parameters of A and of the step sizes; B depends on the input."""
        return [self.A_log, *self.dt_proj.parameters()]

    def freeze(self, length: int) -> nn.Module:
        """The same layer with A precomputed; everything else depends on the input."""
        twin = frozen(self, length)
        with torch.no_grad():
            twin.A = self.transition()
        return twin

    def transition(self) -> Transition:
        """A (Di, N), float32 or float64."""
        return -full_precision(self.A_log).exp()

    def forward(self, u: BatchFirst) -> BatchFirst:
        """The layer's output for u (B, L, D)."""
        tokens = u.transpose(0, 1).contiguous()  # (L, B, D); otherwise the product would be one for every token
        x, z = self.in_proj(tokens).chunk(2, dim=-1)  # (L, B, Di) each
        x = F.silu(self.conv1d(x))
        y = self.enhancement(self.ssm(x).permute(2, 1, 0)).permute(2, 1, 0)  # (L, B, Di)
        return self.dropout(self.out_proj(y * F.silu(z))).transpose(0, 1)  # type: ignore[no-any-return]

    def ssm(self, x: TokenFirst) -> TokenFirst:
        """The selective state space with its skip, (L, B, Di) -> (L, B, Di); the scan is in float32 or float64."""
        state = self.A_log.shape[1]
        ranks, B, C = self.x_proj(x).split([self.dt_proj.in_features, state, state], dim=-1)
        steps = F.linear(ranks, self.dt_proj.weight.to(ranks.dtype))  # (L, B, Di)
        with torch.autocast(x.device.type, enabled=False):
            wide = full_precision(x)
            dt = F.softplus(full_precision(steps) + full_precision(self.dt_proj.bias))
            A = self.transition() if self.A is None else self.A
            y = selective_scan(wide, dt, A, full_precision(B), full_precision(C))
            return torch.addcmul(y, full_precision(self.skip), wide).to(x.dtype)  # (L, B, Di)
