"""Any model in a form that torch.export follows for every batch size, and that needs no complex numbers.

Frozen models choose the route of a convolution by the size of the batch, hold spectra, and scan complex states. Here
each of these is one real-valued operation:

    a kernel       one convolution with the taps; the file contains nothing else of the kernel
    S5             the recurrence by doubling, with real and imaginary parts next to each other
    token orders   one selection of the image's values

Attention and Mamba choose their route themselves while they are traced (nets/softmax_attention.py, nets/selective.py).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.classifier import Classifier
from ssmlab.nets.ema import DampedEma
from ssmlab.nets.s5 import S5, System
from ssmlab.nets.scan import delayed
from ssmlab.nets.shapes import BatchFirst, ChannelFirst, Images, Taps
from ssmlab.nets.ssm_block import LinearSsm
from ssmlab.nets.tokens import Tokens

# CPU time of onnxruntime 1.32 for D 64 and 16 sequences, one thread, depthwise and with T = sqrt(L): 0.97 and 0.77 ms
# for L 49, but files of 15 and 96 kB; 12.4 and 3.3 ms for L 196; 185 and 26 ms for L 784 (2026-11-26, 2 shared cores of
# an AMD EPYC).
DEPTHWISE_UP_TO = 64  # tokens


def traceable(model: Classifier) -> nn.Module:
    """The same function of images (B, C, H, W) in evaluation mode, in a form that torch.export follows."""
    twin = model.freeze()
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, LinearSsm | DampedEma):
                chunk = 1 if model.length <= DEPTHWISE_UP_TO else math.isqrt(model.length)
                twin.set_submodule(name, GroupedConvolution(module.taps(model.length), model.length, chunk))
            elif isinstance(module, S5):
                twin.set_submodule(name, RealS5(module.system(), model.length))
            elif isinstance(module, Tokens):
                twin.set_submodule(name, SelectedTokens(module, model.image_shape))
    return twin


class GroupedConvolution(nn.Module):
    """The convolution of longconv.py, y (D, B, L) of u (D, B, L), as torch's own with a group for each channel.

    The sequence is cut into n chunks of T tokens. The T places in a chunk are the channels of a group, and

        y[j T + r] = sum over chunks i and places s of taps at lag (j - i) T + r - s, times u[i T + s]

    is a convolution over the chunks. T = 1 is a depthwise convolution, which runtimes compute as products of a single
    row; with T rows the same sum is several times as fast.
    """

    taps: Tensor
    places: Tensor

    def __init__(self, taps: Taps, length: int, chunk: int):
        super().__init__()
        self.length, self.chunk, self.chunks = length, chunk, -(-length // chunk)
        zero = taps.shape[-1] - length  # the place of lag zero: the first, or the middle one
        reach = self.chunks * chunk  # lags from zero on
        before = reach - 1 if zero else chunk - 1  # lags below zero
        self.padding = (self.chunks - 1, self.chunks - 1 if zero else 0)
        self.register_buffer("taps", F.pad(taps, (before - zero, reach - length)), persistent=False)
        token = torch.arange(chunk)
        lags = chunk * torch.arange(self.padding[0], -self.padding[1] - 1, -1) + (token[:, None] - token)[..., None]
        self.register_buffer("places", lags + before, persistent=False)  # (T, T, n), or (T, T, 2 n - 1)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) of u (D, B, L)."""
        width, batch, length = u.shape
        whole = F.pad(u.transpose(0, 1), (0, self.chunks * self.chunk - length))  # (B, D, n T)
        groups = whole.view(batch, width, self.chunks, -1).transpose(2, 3).flatten(1, 2)  # (B, D T, n)
        weight = self.taps[:, self.places].flatten(0, 1)  # (D T, T, n)
        y = F.conv1d(F.pad(groups, self.padding), weight, groups=width)  # (B, D T, n)
        y = y.view(batch, width, self.chunk, -1).transpose(2, 3).flatten(2)  # (B, D, n T)
        return y[..., :length].transpose(0, 1)  # (D, B, L)


class RealS5(nn.Module):
    """S5 with fixed parameters, and with real and imaginary parts next to each other, (D, B, L) -> (D, B, L)."""

    into: Tensor
    out: Tensor
    skip: Tensor
    powers: Tensor

    def __init__(self, system: System, length: int):
        super().__init__()
        self.passes = (length - 1).bit_length()
        decay = system.decay.to(torch.complex128)
        powers = torch.stack([decay ** (1 << k) for k in range(self.passes)]) if self.passes else decay[:0]
        self.register_buffer("powers", torch.view_as_real(powers).float(), persistent=False)  # (passes, P, 2)
        for name in ("into", "out", "skip"):
            self.register_buffer(name, getattr(system, name).detach(), persistent=False)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        tokens = u.permute(2, 1, 0)  # (L, B, D)
        inputs = F.linear(tokens, self.into)  # (L, B, 2 P)
        real, imaginary = inputs.view(*tokens.shape[:2], -1, 2).unbind(-1)  # (L, B, P) each
        for k in range(self.passes):
            a, b = self.powers[k].unbind(-1)  # (P,) each
            before, before_i = delayed(real, 1 << k), delayed(imaginary, 1 << k)
            real, imaginary = real + a * before - b * before_i, imaginary + a * before_i + b * before
        states = torch.stack([real, imaginary], dim=-1).flatten(2)  # (L, B, 2 P)
        return (F.linear(states, self.out) + tokens * self.skip).permute(2, 1, 0)  # (D, B, L)


class SelectedTokens(nn.Module):
    """Tokens of images of one shape, (B, C, H, W) -> (B, L, C p p), as a selection: no order is drawn in the graph."""

    places: Tensor

    def __init__(self, tokens: Tokens, image_shape: tuple[int, int, int]):
        super().__init__()
        channels, height, width = image_shape
        numbered = torch.arange(channels * height * width, dtype=torch.float64).view(1, *image_shape)
        self.register_buffer("places", tokens(numbered)[0].long(), persistent=False)  # (L, C p p)

    def forward(self, x: Images) -> BatchFirst:
        return x.flatten(1)[:, self.places]  # (B, L, C p p)
