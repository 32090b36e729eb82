"""Any model in a form that torch.export follows for every batch size, and that needs no complex numbers.

Frozen models choose the route of a convolution by the size of the batch, hold spectra, and scan complex states. Here
each of these is one real-valued operation:

    a kernel       one depthwise convolution with the taps, which are all that the file then holds of it
    S5             the recurrence by doubling, real and imaginary parts beside each other
    token orders   one selection of the image's values

Attention and Mamba choose their route themselves while they are traced (nets/softmax_attention.py, nets/selective.py).
"""

from __future__ import annotations

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


def traceable(model: Classifier) -> nn.Module:
    """The same function of images (B, C, H, W) in evaluation mode, in a form that torch.export follows."""
    twin = model.freeze()
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, LinearSsm | DampedEma):
                twin.set_submodule(name, DepthwiseConvolution(module.taps(model.length), model.length))
            elif isinstance(module, S5):
                twin.set_submodule(name, RealS5(module.system(), model.length))
            elif isinstance(module, Tokens):
                twin.set_submodule(name, SelectedTokens(module, model.image_shape))
    return twin


class DepthwiseConvolution(nn.Module):
    """The convolution of longconv.py, y (D, B, L) of u (D, B, L), as torch's own with one kernel a channel."""

    weight: Tensor

    def __init__(self, taps: Taps, length: int):
        super().__init__()
        self.register_buffer("weight", taps.flip(-1)[:, None].contiguous(), persistent=False)  # (D, 1, lags)
        self.padding = (length - 1, taps.shape[-1] - length)  # the lags of the past, and of the future

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        padded = F.pad(u.transpose(0, 1), self.padding)  # (B, D, L + lags - 1)
        return F.conv1d(padded, self.weight, groups=len(self.weight)).transpose(0, 1)  # (D, B, L)


class RealS5(nn.Module):
    """S5 of fixed parameters with real and imaginary parts beside each other, (D, B, L) -> (D, B, L)."""

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
