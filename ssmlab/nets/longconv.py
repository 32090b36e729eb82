"""Convolution of whole sequences with one kernel per channel, by several routes.

u (D, B, L): channel-first sequences. taps: the kernel of each channel. A causal kernel is (D, L), and taps[:, k] is the
weight of the input k tokens back. A kernel over all lags is (D, 2L-1), and the weight is taps[:, L-1+k]. Every route
computes

    y[d, b, t] = sum over s of taps[d, t-s] u[d, b, s]      (causal; else taps[d, L-1 + t-s])

`by_fft` multiplies spectra. `by_columns` multiplies with the Toeplitz matrix of the kernel, T columns at a time. Every
block of T columns is a part of the last block, so memory is D L T. A causal block needs only the rows above its lower
end. T = L is the whole matrix in one product. If the taps are fixed and their state space is known, long sequences are
processed in chunks that pass on a state (chunked.py).

Sequences are channel-first: then every route is a batched product or an FFT along contiguous memory, and the linear map
that follows can read y transposed at no extra cost.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.cache_groups import cache_groups
from ssmlab.nets.second_gradients import plain_gradients
from ssmlab.nets.shapes import BatchFirst, ChannelFirst, OneSide, Spectrum, Taps, ToeplitzColumns

# Measured on a CPU (benchmarks/mixers.md): with B sequences, the Toeplitz product is the faster route up to a length of
# this many times B tokens.
TOKENS_A_SEQUENCE = 4  # if every call builds the matrix and computes its gradient
FIXED_TOKENS_A_SEQUENCE = 32  # if the matrix is precomputed
LONGEST = 1024  # tokens; for longer sequences the FFT is used
BLOCK = 256  # columns per product
TOEPLITZ_LIMIT = 2**25  # entries of the columns (D, L, T): 128 MiB in float32
FFT_ENTRIES = 2**18  # numbers that a CPU transforms together, so that all steps of a convolution find them in its cache


def channel_first(u: BatchFirst) -> ChannelFirst:
    """(B, L, D) as contiguous (D, B, L)."""
    y: Tensor = ToChannelFirst.apply(u)  # type: ignore[no-untyped-call]
    return y


class ToChannelFirst(torch.autograd.Function):
    """`channel_first` with a contiguous gradient, because the gradient of the residual is added to it."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:  # noqa: ARG004
        """(D, B, L)."""
        batch, length, width = u.shape
        return u.reshape(batch * length, width).t().contiguous().view(width, batch, length)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        """(B, L, D)."""
        width, batch, length = gradients[0].shape
        return gradients[0].reshape(width, -1).t().contiguous().view(batch, length, width)


def two_sided(past: OneSide, future: OneSide) -> Taps:
    """Taps over all lags (D, 2L-1) from a kernel over the past and one over the future, both (D, L) from lag 0."""
    reach = past.shape[-1] - 1
    return F.pad(past, (reach, 0)) + F.pad(future.flip(-1), (0, reach))  # (D, 2 L - 1)


def toeplitz_columns(taps: Taps, length: int, block: int) -> ToeplitzColumns:
    """The last `block` columns of the Toeplitz matrix, (D, R, block): entry (s, t) weights u[s] in y[L - block + t].

    Causal taps have R = L rows. Two-sided taps have more rows, for the blocks to the left: R = 2 L minus the number of
    columns in the leftmost block.
    """
    leftmost = (length - 1) % block + 1
    before = block - 1 if taps.shape[-1] == length else block - leftmost
    rows: Tensor = Windows.apply(F.pad(taps, (before, 0)), block)  # type: ignore[no-untyped-call]
    return rows


class Windows(torch.autograd.Function):
    """Sliding windows of T neighbours in reverse order: (D, R + T - 1) -> (D, R, T); row s starts at R - 1 - s.

    The gradient of an input is the sum of a diagonal. If every row is shifted right by one entry more than the row
    before, diagonals become columns. Their sums are many times faster than the gradient of `unfold`.
    """

    @staticmethod
    def forward(ctx: Any, places: Tensor, block: int) -> Tensor:  # noqa: ARG004
        """The rows (D, R, T)."""
        return places.unfold(-1, block, 1).flip(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        """The gradient (D, R + T - 1) of the inputs."""
        width, rows, block = gradients[0].shape
        slanted = F.pad(gradients[0].flip(1), (0, rows)).flatten(1)[:, :-rows]  # (D, R (R + T - 1))
        return slanted.view(width, rows, rows + block - 1).sum(1), None


def by_columns(u: ChannelFirst, columns: ToeplitzColumns) -> ChannelFirst:
    """y (D, B, L) by batched products with the `toeplitz_columns` of the taps."""
    length, block = u.shape[-1], columns.shape[-1]
    causal = columns.shape[1] == length
    parts = []
    for end in range(length, 0, -block):
        rows = end if causal else length
        first, skip = length - end, max(0, block - end)
        parts.append(torch.bmm(u[..., :rows], columns[:, first : first + rows, skip:]))  # (D, B, block)
    return parts[0] if len(parts) == 1 else torch.cat(parts[::-1], dim=-1)  # (D, B, L)


def by_toeplitz(u: ChannelFirst, taps: Taps, block: int | None = None) -> ChannelFirst:
    """y (D, B, L) by blocks of `block` columns of the Toeplitz matrix; None means the whole matrix."""
    length = u.shape[-1]
    return by_columns(u, toeplitz_columns(taps, length, block or length))


def fft_size(length: int) -> int:
    """An even FFT size of at least 2L-1 without prime factors above 5; no wanted term wraps around."""
    size = 2 * length
    while size != math.gcd(size, 60**20):
        size += 2
    return size


def by_spectrum(u: ChannelFirst, spectrum: Spectrum, first: int) -> ChannelFirst:
    """y (D, B, L) from u and the rfft (D, F) of the taps with this `first_lag`, in the precision of the spectrum."""
    length, size = u.shape[-1], fft_size(u.shape[-1])
    with torch.autocast(u.device.type, enabled=False):
        wide = u.to(spectrum.real.dtype)
        y: Tensor = torch.fft.irfft(torch.fft.rfft(wide, n=size) * spectrum.unsqueeze(1), n=size)
    return y[..., first : first + length].to(u.dtype)  # (D, B, L)


def first_lag(length: int, taps: Taps) -> int:
    """Where y begins in the full convolution of `length` tokens: at lag 0, which is the first tap or the middle one."""
    return taps.shape[-1] - length


def by_fft(u: ChannelFirst, taps: Taps) -> ChannelFirst:
    """y (D, B, L) by the real FFT, computed in the precision of `taps`."""
    y: Tensor = FourierConvolution.apply(u, taps)  # type: ignore[no-untyped-call]
    return y


def by_fft_plain(u: ChannelFirst, taps: Taps) -> ChannelFirst:
    """`by_fft` with autograd's own gradients, which can be differentiated again."""
    length = u.shape[-1]
    return by_spectrum(u, torch.fft.rfft(taps, n=fft_size(length)), first_lag(length, taps))


def channel_groups(u: ChannelFirst, size: int) -> list[slice]:
    """Groups of channels of u (D, B, L) that are convolved together, by FFTs of `size` points."""
    width, batch, _ = u.shape
    return cache_groups(width, batch * size, FFT_ENTRIES if u.device.type == "cpu" else width * batch * size)


class FourierConvolution(torch.autograd.Function):
    """`by_fft` whose gradients need only real FFTs; autograd would use complex FFTs of twice the size.

    On a CPU a few channels at a time go through all steps. Forward and backward, D 128, B 32, L 784: 57 ms, and 83 with
    all channels at once (one thread of an Intel Xeon, 2026-11-27).
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, taps: Tensor) -> Tensor:
        """y (D, B, L)."""
        length, size, first = u.shape[-1], fft_size(u.shape[-1]), first_lag(u.shape[-1], taps)
        with torch.autocast(u.device.type, enabled=False):
            spectrum = torch.fft.rfft(taps, n=size).unsqueeze(1)  # (D, 1, F)
            y, inputs = u.new_empty(u.shape), None
            if ctx.needs_input_grad[1]:
                inputs = spectrum.new_empty(*u.shape[:2], spectrum.shape[-1])  # (D, B, F)
            for some in channel_groups(u, size):
                transformed = torch.fft.rfft(u[some].to(taps.dtype), n=size)
                if inputs is not None:
                    inputs[some] = transformed
                y[some] = torch.fft.irfft(transformed * spectrum[some], n=size)[..., first : first + length]
        ctx.save_for_backward(u, taps, inputs, spectrum)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of u and taps: correlations of the output's gradient with the taps and with the input."""
        u, taps, inputs, spectrum = ctx.saved_tensors
        if torch.is_grad_enabled():  # these gradients will be differentiated again
            return plain_gradients(by_fft_plain, (u, taps), gradients[0])
        size, first = fft_size(u.shape[-1]), first_lag(u.shape[-1], taps)
        du, dtaps = u.new_empty(u.shape), None if inputs is None else torch.empty_like(taps)
        with torch.autocast(u.device.type, enabled=False):
            for some in channel_groups(u, size):
                dy = gradients[0][some].to(taps.dtype)
                dy = torch.fft.rfft(F.pad(dy, (first, 0)) if first else dy, n=size)  # (d, B, F)
                if inputs is not None and dtaps is not None:
                    correlation = torch.linalg.vecdot(inputs[some], dy, dim=1)  # (d, F)
                    dtaps[some] = torch.fft.irfft(correlation, n=size)[..., : taps.shape[-1]]
                du[some] = torch.fft.irfft(dy.mul_(spectrum[some].conj()), n=size)[..., : u.shape[-1]]
        return du, dtaps


def columns_pay(width: int, batch: int, length: int, most: int) -> bool:
    """Whether the Toeplitz product is faster than the FFT.

    Its matrix costs the same for every batch size and grows with L^2, so it pays for large batches and short sequences.
    """
    fits = width * length * min(length, BLOCK) <= TOEPLITZ_LIMIT
    return fits and length <= min(most * batch, LONGEST)


def convolve(u: ChannelFirst, taps: Taps) -> ChannelFirst:
    """y (D, B, L) by the fastest route for this size."""
    width, batch, length = u.shape
    if columns_pay(width, batch, length, TOKENS_A_SEQUENCE):
        return by_toeplitz(u, taps, min(length, BLOCK))
    return by_fft(u, taps)


class FixedConvolution(nn.Module):
    """The convolution of `length` tokens with fixed taps, by the faster of Toeplitz product and FFT for each batch."""

    columns: Tensor | None
    spectrum: Tensor

    def __init__(self, taps: Taps, length: int):
        super().__init__()
        self.length, self.first = length, first_lag(length, taps)
        fits = columns_pay(len(taps), length, length, FIXED_TOKENS_A_SEQUENCE)  # for large batches, which use it most
        columns = toeplitz_columns(taps, length, min(length, BLOCK)) if fits else None
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("spectrum", torch.fft.rfft(taps, n=fft_size(length)), persistent=False)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) for u (D, B, L).

        Raises:
            ValueError: L is not the length that this convolution was built for.
        """
        width, batch, length = u.shape
        if length != self.length:
            raise ValueError(f"this convolution was made for {self.length} tokens, not {length}")
        if self.columns is not None and columns_pay(width, batch, length, FIXED_TOKENS_A_SEQUENCE):
            return by_columns(u, self.columns)
        return by_spectrum(u, self.spectrum, self.first)
