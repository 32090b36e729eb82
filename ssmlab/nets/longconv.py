"""Convolution of whole sequences with one kernel a channel, by several routes.

u (D, B, L): channel-first sequences. taps: the kernel of each channel, either causal, (D, L), taps[:, k] weighing the
input k tokens back, or over all lags, (D, 2L-1), taps[:, L-1+k] weighing it. Every route computes

    y[d, b, t] = sum over s of taps[d, t-s] u[d, b, s]      (causal; else taps[d, L-1 + t-s])

`by_fft` multiplies spectra. `by_columns` multiplies with the Toeplitz matrix of the kernel, T columns at a time: all
blocks of T columns are cuts of one, the last, so memory is D L T, and a causal block needs only the rows down to its
own. T = L is the whole matrix in one product. With fixed taps of a known state space, long sequences go in chunks that
pass a state on (chunked.py).

Channel-first, because then a route is batched products or FFTs along contiguous memory, and the linear map after it
reads y transposed inside its own matrix product, for free.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.chunked import ChunkedConvolution, Realisation
from ssmlab.nets.shapes import BatchFirst, ChannelFirst, OneSide, Spectrum, Taps, ToeplitzColumns

# By measurement on a CPU (benchmarks/mixers.md): with B sequences the Toeplitz product is the faster route for up to so
# many times B tokens.
TOKENS_A_SEQUENCE = 4  # its matrix is made, and its gradient taken, on every call
FIXED_TOKENS_A_SEQUENCE = 32  # its matrix is at hand
LONGEST = 1024
# Fixed taps, forward and backward to the input, D 64, one thread: CPU time of the route taken otherwise over that of
# chunks (2026-11-26; R numbers of state a channel; B 8 and 32):
#     L    R = 8        R = 32       R = 64
#     196  1.24  0.89   1.02  0.63   0.64  0.44
#     400  1.80  1.67   1.42  1.28   0.86  0.79
#     784  2.33  2.67   1.69  2.15   1.18  1.58
#     1024 2.24  3.92   1.75  3.08   1.18  2.37
#     4096 4.21         3.12         (B 8 only)
# With one sequence the FFT is faster up to L = 1,024 (chunks: 0.5 to 0.95 of its speed).
CHUNK = 64  # tokens in a chunk; with large states 128 are faster (2.37 for 1.96 at L = 1,024, R = 64, B = 32)
LARGE_STATE = 64
CHUNKS_PAY_FROM = 8  # L must be at least so many times R + 32
CHUNKS_PAY_FOR = 8  # sequences
BLOCK = 256  # columns at once
TOEPLITZ_LIMIT = 2**25  # entries of the columns (D, L, T): 128 MiB in float32


def channel_first(u: BatchFirst) -> ChannelFirst:
    """(B, L, D) as contiguous (D, B, L)."""
    batch, length, width = u.shape
    return u.reshape(batch * length, width).t().contiguous().view(width, batch, length)  # (D, B, L)


def two_sided(past: OneSide, future: OneSide) -> Taps:
    """Taps over all lags (D, 2L-1) of a kernel over the past and one over the future, both from the present, (D, L)."""
    reach = past.shape[-1] - 1
    return F.pad(past, (reach, 0)) + F.pad(future.flip(-1), (0, reach))  # (D, 2 L - 1)


def toeplitz_columns(taps: Taps, length: int, block: int) -> ToeplitzColumns:
    """The last `block` columns of the Toeplitz matrix, (D, R, block): entry s, t weighs u[s] in y[L - block + t].

    R = L rows for causal taps; two-sided ones have further rows, for the blocks to the left: 2 L less the leftmost
    block's columns.
    """
    leftmost = (length - 1) % block + 1
    before = block - 1 if taps.shape[-1] == length else block - leftmost
    rows: Tensor = Windows.apply(F.pad(taps, (before, 0)), block)  # type: ignore[no-untyped-call]
    return rows


class Windows(torch.autograd.Function):
    """Rows of T neighbours, the last first: (D, R + T - 1) -> (D, R, T), row s starting at place R - 1 - s.

    Backwards, each place takes the sum of a diagonal. Written one entry further right from row to row, diagonals are
    columns: many times faster than the gradient of `unfold`.
    """

    @staticmethod
    def forward(ctx: Any, places: Tensor, block: int) -> Tensor:  # noqa: ARG004
        """The rows (D, R, T)."""
        return places.unfold(-1, block, 1).flip(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        """The gradient to the places."""
        width, rows, block = gradients[0].shape
        slanted = F.pad(gradients[0].flip(1), (0, rows)).flatten(1)[:, :-rows]  # (D, R (R + T - 1))
        return slanted.view(width, rows, rows + block - 1).sum(1), None


def by_columns(u: ChannelFirst, columns: ToeplitzColumns) -> ChannelFirst:
    """y (D, B, L) as batched products with the `toeplitz_columns` of the taps."""
    length, block = u.shape[-1], columns.shape[-1]
    causal = columns.shape[1] == length
    parts = []
    for end in range(length, 0, -block):
        rows = end if causal else length
        first, skip = length - end, max(0, block - end)
        parts.append(torch.bmm(u[..., :rows], columns[:, first : first + rows, skip:]))  # (D, B, block)
    return parts[0] if len(parts) == 1 else torch.cat(parts[::-1], dim=-1)  # (D, B, L)


def by_toeplitz(u: ChannelFirst, taps: Taps, block: int | None = None) -> ChannelFirst:
    """y (D, B, L) through blocks of `block` columns of the Toeplitz matrix; None for the whole."""
    length = u.shape[-1]
    return by_columns(u, toeplitz_columns(taps, length, block or length))


def fft_size(length: int) -> int:
    """An even size without prime factors above 5, at least 2L-1: only terms that are not wanted wrap around."""
    size = 2 * length
    while size != math.gcd(size, 60**20):
        size += 2
    return size


def by_spectrum(u: ChannelFirst, spectrum: Spectrum, causal: bool) -> ChannelFirst:
    """y (D, B, L) of u and the rfft (D, F) of its taps, in the precision of that."""
    length, size = u.shape[-1], fft_size(u.shape[-1])
    first = 0 if causal else length - 1
    with torch.autocast(u.device.type, enabled=False):
        wide = u.to(spectrum.real.dtype)
        y: Tensor = torch.fft.irfft(torch.fft.rfft(wide, n=size) * spectrum.unsqueeze(1), n=size)
    return y[..., first : first + length].to(u.dtype)  # (D, B, L)


def by_fft(u: ChannelFirst, taps: Taps) -> ChannelFirst:
    """y (D, B, L) through the real FFT, in the precision of `taps`."""
    length = u.shape[-1]
    return by_spectrum(u, torch.fft.rfft(taps, n=fft_size(length)), taps.shape[-1] == length)


def columns_pay(width: int, batch: int, length: int, most: int) -> bool:
    """Whether the Toeplitz product beats the FFT: its matrix costs the same for any batch, and grows with L^2."""
    fits = width * length * min(length, BLOCK) <= TOEPLITZ_LIMIT
    return fits and length <= min(most * batch, LONGEST)


def chunks_pay(length: int, state: int) -> bool:
    """Whether chunks beat the other routes for fixed taps of `state` numbers a channel and usual batches."""
    return length >= CHUNKS_PAY_FROM * (state + 32)


def convolve(u: ChannelFirst, taps: Taps) -> ChannelFirst:
    """y (D, B, L) by the route that is fastest at this size."""
    width, batch, length = u.shape
    if columns_pay(width, batch, length, TOKENS_A_SEQUENCE):
        return by_toeplitz(u, taps, min(length, BLOCK))
    return by_fft(u, taps)


class FixedConvolution(nn.Module):
    """The convolution of `length` tokens with fixed taps, by the route that is faster for the batch at hand."""

    columns: Tensor | None
    spectrum: Tensor

    def __init__(self, taps: Taps, length: int, past: Realisation | None = None, future: Realisation | None = None):
        """`past` and `future`: the state spaces of the taps, for the route by chunks, where `chunks_pay`."""
        super().__init__()
        self.chunked: ChunkedConvolution | None = None
        if past is not None:
            chunk = CHUNK if past.B.shape[1] < LARGE_STATE else 2 * CHUNK
            self.chunked = ChunkedConvolution(taps, length, chunk, past, future)
        self.length = length
        self.causal = taps.shape[-1] == length
        fits = past is None and columns_pay(len(taps), length, length, FIXED_TOKENS_A_SEQUENCE)
        columns = toeplitz_columns(taps, length, min(length, BLOCK)) if fits else None
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("spectrum", torch.fft.rfft(taps, n=fft_size(length)), persistent=False)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) for u (D, B, L); raises ValueError if L is not the length it was made for."""
        width, batch, length = u.shape
        if length != self.length:
            raise ValueError(f"this convolution was made for {self.length} tokens, not {length}")
        if self.chunked is not None and batch >= CHUNKS_PAY_FOR:
            return self.chunked(u)  # type: ignore[no-any-return]
        if self.columns is not None and columns_pay(width, batch, length, FIXED_TOKENS_A_SEQUENCE):
            return by_columns(u, self.columns)
        return by_spectrum(u, self.spectrum, self.causal)
