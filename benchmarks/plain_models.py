"""Straightforward implementations of the models: the baseline of bench_at.py.

`PlainModel` computes a classifier's logits from its parameters directly by the papers' equations: batch-first
sequences, complex numbers, kernels computed at every call, convolutions by FFT, S5 as a recursive associative scan,
Mamba step by step. It shares no code with ssmlab/nets except the layers of torch.nn.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.ads import AdaptiveScaling
from ssmlab.nets.classifier import Classifier, Residual
from ssmlab.nets.dss import DssKernel
from ssmlab.nets.mamba import MambaLayer
from ssmlab.nets.mega import MegaLayer
from ssmlab.nets.s4 import S4Kernel
from ssmlab.nets.s5 import S5
from ssmlab.nets.ssm_block import SsmBlock

ACTS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}


class PlainModel(nn.Module):
    """The same function as `model` on parameters of its own that start equal; state dicts have the names of `model`."""

    def __init__(self, model: Classifier):
        super().__init__()
        self.model = copy.deepcopy(model)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images x (B, C, H, W)."""
        h = self.model.norm(self.model.embed(self.model.tokens(x)))  # (B, L, D)
        for layer in self.model.layers:
            h = layer.norm(h + mix(layer.mixer, h)) if isinstance(layer, Residual) else mega(layer, h)
        return self.model.head(h.mean(1))  # type: ignore[no-any-return]


def mix(mixer: nn.Module, u: Tensor) -> Tensor:
    """The output (B, L, D) of a layer without residual and norm."""
    if isinstance(mixer, MambaLayer):
        return mamba(mixer, u)
    assert isinstance(mixer, SsmBlock)
    ssm = mixer.ssm
    if isinstance(ssm, S5):
        y = s5(ssm, u)
    else:
        kernel = ssm.kernel
        taps = s4_taps(kernel) if isinstance(kernel, S4Kernel) else dss_taps(kernel, u.shape[1])
        y = convolution(u, taps[:, : u.shape[1]]) + ssm.skip * u
    if isinstance(mixer.enhancement, AdaptiveScaling):
        ads = mixer.enhancement
        y = ACTS[ads.act](ads.scale(y)) * y + ACTS[ads.act](ads.bias(y))
    return mixer.output(y)  # type: ignore[no-any-return]


def convolution(u: Tensor, taps: Tensor) -> Tensor:
    """The causal convolution of u (B, L, D) with taps (D, L) through the FFT of 2 L points."""
    length = u.shape[1]
    spectrum = torch.fft.rfft(taps.t(), n=2 * length, dim=0)  # (L + 1, D)
    return torch.fft.irfft(torch.fft.rfft(u, n=2 * length, dim=1) * spectrum, n=2 * length, dim=1)[:, :length]


def whole(pairs: Tensor) -> Tensor:
    """Stored halves (..., N/2, 2) as all N complex numbers of the conjugate pairs."""
    half = torch.view_as_complex(pairs)
    return torch.cat([half, half.conj()], dim=-1)


def s4_taps(kernel: S4Kernel) -> Tensor:
    """K (D, L') from the Cauchy sums of S4's algorithm 1, over all N states."""
    half = torch.complex(-kernel.log_decay.exp(), kernel.frequency)
    Lambda = torch.cat([half, half.conj()])  # (N,)
    P, B, C, dt = whole(kernel.P), whole(kernel.B), whole(kernel.C), kernel.log_dt.exp()[:, None]
    z = torch.polar(torch.ones(1), -2 * math.pi / kernel.length * torch.arange(kernel.length // 2 + 1))  # (F,)
    point = 2 * (1 - z)  # (F,)
    scale = dt * (1 + z)  # (D, F)
    cauchy = 1 / (point[:, None] - scale[..., None] * Lambda)  # (D, F, N)
    weights = (C * B, C * P, (P.conj() * B).expand_as(C), (P.conj() * P).expand_as(C))  # (D, N) each
    cb, cp, pb, pp = ((cauchy * weight[:, None]).sum(-1) for weight in weights)  # (D, F) each
    return torch.fft.irfft(2 * dt * (cb - scale * cp * pb / (1 + scale * pp)), n=kernel.length)


def dss_taps(kernel: DssKernel, length: int) -> Tensor:
    """K (D, L) from DSS's equation 6: powers of exp(Lambda dt), with the guard of dss.py; no mode may grow."""
    Lambda, W = torch.view_as_complex(kernel.Lambda), torch.view_as_complex(kernel.C)
    rate = kernel.log_dt.exp()[:, None] * Lambda  # (D, N/2)
    powers = torch.exp(rate[..., None] * torch.arange(length))  # (D, N/2, L)
    x = (torch.exp(rate * length) - 1) * Lambda
    weight = W * (rate.exp() - 1) * x.conj() / (x.abs().square() + 1e-7)
    return torch.einsum("dn,dnl->dl", weight, powers).real


def associative_scan(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """All compositions along dimension 1 of the steps h -> a h + b, recursively over pairs of steps."""
    if a.shape[1] < 2:
        return a, b
    even, odd = slice(0, None, 2), slice(1, None, 2)
    count = a.shape[1] // 2
    first = (a[:, even][:, :count], b[:, even][:, :count])
    pair = a[:, odd] * first[0], a[:, odd] * first[1] + b[:, odd]
    odds = associative_scan(*pair)
    later_a, later_b = a[:, 2::2], b[:, 2::2]
    n = later_a.shape[1]
    evens = later_a * odds[0][:, :n], later_a * odds[1][:, :n] + later_b
    out = []
    for start, even_part, odd_part in ((a[:, :1], evens[0], odds[0]), (b[:, :1], evens[1], odds[1])):
        evens_all = torch.cat([start.expand(odd_part.shape[0], *start.shape[1:]), even_part], dim=1)
        woven = torch.zeros(odd_part.shape[0], a.shape[1], *odd_part.shape[2:], dtype=odd_part.dtype)
        woven[:, even], woven[:, odd] = evens_all, odd_part
        out.append(woven)
    return out[0], out[1]


def s5(ssm: S5, u: Tensor) -> Tensor:
    """y (B, L, D): the zero-order hold and an associative scan over complex states (B, L, P)."""
    Lambda, B, C = (torch.view_as_complex(p) for p in (ssm.Lambda, ssm.B, ssm.C))
    Lambda = torch.complex(-Lambda.real.abs(), Lambda.imag)
    decay = torch.exp(Lambda * ssm.log_dt.exp())  # (P,)
    inputs = u.to(decay.dtype) @ (((decay - 1) / Lambda)[:, None] * B).t()  # (B, L, P)
    _, states = associative_scan(decay.expand(1, u.shape[1], -1), inputs)
    return (states @ C.t()).real + ssm.skip * u


def mamba(layer: MambaLayer, u: Tensor) -> Tensor:
    """The layer's output (B, L, D), the recurrence one token after the other."""
    x, z = layer.in_proj(u).chunk(2, dim=-1)  # (B, L, Di)
    conv, inner = layer.conv1d, x.shape[-1]
    x = F.silu(F.conv1d(F.pad(x.transpose(1, 2), (3, 0)), conv.weight, conv.bias, groups=inner).transpose(1, 2))
    state = layer.A_log.shape[1]
    ranks, B, C = layer.x_proj(x).split([layer.dt_proj.in_features, state, state], dim=-1)
    dt, A = F.softplus(layer.dt_proj(ranks)), -layer.A_log.exp()
    decay = torch.exp(dt[..., None] * A)  # (B, L, Di, N)
    inputs = (dt * x)[..., None] * B[:, :, None]  # (B, L, Di, N)
    h, outputs = torch.zeros_like(inputs[:, 0]), []
    for t in range(u.shape[1]):
        h = decay[:, t] * h + inputs[:, t]
        outputs.append((h * C[:, t, None]).sum(-1))  # (B, Di)
    y = torch.stack(outputs, dim=1) + layer.skip * x
    return layer.out_proj(y * F.silu(z))  # type: ignore[no-any-return]


def mega(layer: MegaLayer, x: Tensor) -> Tensor:
    """The output (B, L, D) of a whole layer."""
    a, length = layer.attention, x.shape[1]
    alpha, delta = a.ema.alpha.sigmoid(), a.ema.delta.sigmoid()  # (2, D, h)
    powers = (1 - alpha * delta)[..., None] ** torch.arange(length)  # (2, D, h, L)
    taps = (delta * a.ema.beta * a.ema.gamma)[..., None] * powers / math.sqrt(alpha.shape[-1])
    past, future = taps.sum(2)  # (D, L)
    m = convolution(x, past) + convolution(x.flip(1), future).flip(1) + a.ema.omega * x
    m = F.silu(m)
    shared = F.silu(a.shared(m))
    query, key = a.kappa[0] * shared + a.mu[0], a.kappa[1] * shared + a.mu[1]  # (B, L, z)
    token = torch.arange(length)
    bias = a.bias.table[(len(a.bias.table) - 1) // 2 + token - token[:, None]]  # (L, L)
    scores = query @ key.transpose(1, 2) / math.sqrt(query.shape[-1]) + bias  # (B, L, L)
    gathered = scores.softmax(-1) @ F.silu(a.value(x))
    h = F.silu(a.candidate(m) + a.back(F.silu(a.reset(m)) * gathered))
    gate = a.update(m).sigmoid()
    y = a.norm(gate * h + (1 - gate) * x)
    f = layer.feed_forward
    return f.norm(y + f.back(F.silu(f.into(y))))  # type: ignore[no-any-return]
