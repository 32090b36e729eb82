"""The layer around a linear state space: skip, pointwise nonlinearity, enhancement, output map.

u (B, L, D): input. K (D, L): the kernel of the SSM. skip (D,): the skip term, called D in the papers.

    y = K * u + skip u;  y = gelu(y) if `pointwise: gelu`;  y = enhancement(y);  output map: W_o y + b_o, or its GLU

`bidirectional` adds a second kernel K' that runs from the last token to the first; both kernels include the present
token. S5 is its own SSM (s5.py), and its C already maps over all channels: `output: linear` then adds no further map.

With `pointwise: none`, `output: linear` and no enhancement, the layer is affine in u. This is the published code, which
builds a GELU but never applies it. Inside the layer, sequences are channel-first (D, B, L): see longconv.py.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.chunked import ChunkedConvolution, chunks_pay, even_chunks
from ssmlab.nets.longconv import FixedConvolution, channel_first, convolve, two_sided
from ssmlab.nets.mixer import Mixer, Ssm, SsmKernel, full_precision
from ssmlab.nets.shapes import BatchFirst, ChannelFirst, Taps

OutputMap = Literal["none", "linear", "glu"]


class LinearSsm(Ssm):
    """y = K * u + skip u on channel-first sequences, (D, B, L) -> (D, B, L).

    Args:
        kernel: `kernel(L)` returns K (D, L).
        width: D, the number of channels.
        backward_kernel: the kernel from the last token to the first; None for a causal layer.
    """

    def __init__(self, kernel: SsmKernel, width: int, backward_kernel: SsmKernel | None = None):
        super().__init__()
        self.kernel = kernel
        self.backward_kernel = backward_kernel
        self.skip = nn.Parameter(torch.randn(width))

    def ssm_parameters(self) -> list[nn.Parameter]:
        return [parameter for kernel in self.kernels() for parameter in kernel.ssm_parameters()]

    def kernels(self) -> list[SsmKernel]:
        """The kernel over the past, and the one over the future if there is one."""
        return [kernel for kernel in (self.kernel, self.backward_kernel) if kernel is not None]

    def taps(self, length: int) -> Taps:
        """The taps of the whole map, with the skip at lag 0, also under autocast: (D, L), or (D, 2L-1) if two-sided."""
        with torch.autocast(self.skip.device.type, enabled=False):
            feed = F.pad(full_precision(self.skip)[:, None], (0, length - 1))  # (D, L)
            past: Tensor = self.kernel(length) + feed
            return past if self.backward_kernel is None else two_sided(past, self.backward_kernel(length))

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """The SSM's output for u (D, B, L)."""
        return convolve(u, self.taps(u.shape[-1]))

    def freeze(self, length: int) -> nn.Module:
        """The same map for `length` tokens with precomputed taps or matrices."""
        with torch.no_grad():
            if not all(chunks_pay(length, kernel.state) for kernel in self.kernels()):
                return FixedConvolution(self.taps(length), length)
            systems = [system for kernel in self.kernels() if (system := kernel.realisation(length)) is not None]
            if len(systems) < len(self.kernels()):  # a growing mode has no state space
                return FixedConvolution(self.taps(length), length)
            chunk = even_chunks(length, self.kernel.state)
            return ChunkedConvolution(full_precision(self.skip), length, chunk, *systems)


class SsmBlock(Mixer):
    """A linear SSM, then nonlinearity, enhancement, output map and dropout, (B, L, D) -> (B, L, D)."""

    def __init__(
        self,
        ssm: Ssm,
        enhancement: nn.Module,
        width: int,
        pointwise: Literal["none", "gelu"],
        output: OutputMap,
        dropout: float,
    ):
        super().__init__()
        self.ssm = ssm
        self.any_order = ssm.any_order  # kept here, because a frozen SSM is another module
        self.pointwise = pointwise
        self.enhancement = enhancement
        self.gated = output == "glu"
        self.output = nn.Identity() if output == "none" else nn.Linear(width, 2 * width if self.gated else width)
        self.dropout = nn.Dropout(dropout)

    def ssm_parameters(self) -> list[nn.Parameter]:
        """The parameters of the SSM's recurrence."""
        return self.ssm.ssm_parameters()

    def forward(self, u: BatchFirst) -> BatchFirst:
        """The layer's output for u (B, L, D)."""
        y = self.ssm(u.permute(2, 0, 1) if self.any_order else channel_first(u))  # (D, B, L)
        if self.pointwise == "gelu":
            y = F.gelu(y)
        y = self.enhancement(y)
        tokens = y.flatten(1).t() if y.is_contiguous() else y.permute(1, 2, 0)  # (B L, D) or (B, L, D): no copy
        out = self.output(tokens)  # (B L, D or 2 D) or (B, L, D or 2 D)
        if self.gated:
            out = F.glu(out)
        return self.dropout(out).reshape(u.shape)  # type: ignore[no-any-return]
