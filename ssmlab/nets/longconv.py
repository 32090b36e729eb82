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

from ssmlab.nets.shapes import BatchFirst, ChannelFirst, OneSide, Spectrum, Taps, ToeplitzColumns

# By measurement on a CPU (benchmarks/mixers.md): with B sequences the Toeplitz product is the faster route for up to so
# many times B tokens.
TOKENS_A_SEQUENCE = 4  # its matrix is made, and its gradient taken, on every call
FIXED_TOKENS_A_SEQUENCE = 32  # its matrix is at hand
LONGEST = 1024
BLOCK = 256  # columns at once
TOEPLITZ_LIMIT = 2**25  # entries of the columns (D, L, T): 128 MiB in float32


def channel_first(u: BatchFirst) -> ChannelFirst:
    """(B, L, D) as contiguous (D, B, L)."""
    y: Tensor = ToChannelFirst.apply(u)  # type: ignore[no-untyped-call]
    return y


class ToChannelFirst(torch.autograd.Function):
    """`channel_first` with a gradient that is contiguous, too: the residual's gradient is added to it."""

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
    first = 0 if causal else length - 1  # where y begins in the whole convolution
    with torch.autocast(u.device.type, enabled=False):
        wide = u.to(spectrum.real.dtype)
        y: Tensor = torch.fft.irfft(torch.fft.rfft(wide, n=size) * spectrum.unsqueeze(1), n=size)
    return y[..., first : first + length].to(u.dtype)  # (D, B, L)


def first_lag(u: ChannelFirst, taps: Taps) -> int:
    """Where y begins in the whole convolution: at the lag zero, which is the first tap or the middle one."""
    return taps.shape[-1] - u.shape[-1]


def by_fft(u: ChannelFirst, taps: Taps) -> ChannelFirst:
    """y (D, B, L) through the real FFT, in the precision of `taps`."""
    y: Tensor = FourierConvolution.apply(u, taps)  # type: ignore[no-untyped-call]
    return y


def by_fft_plain(u: ChannelFirst, taps: Taps) -> ChannelFirst:
    """`by_fft` with the gradients that autograd makes of it, which can be differentiated again."""
    length = u.shape[-1]
    return by_spectrum(u, torch.fft.rfft(taps, n=fft_size(length)), taps.shape[-1] == length)


class FourierConvolution(torch.autograd.Function):
    """`by_fft`, with gradients by real FFTs alone; autograd would take a complex one of twice the size for each."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, taps: Tensor) -> Tensor:
        """y (D, B, L)."""
        size, first = fft_size(u.shape[-1]), first_lag(u, taps)
        with torch.autocast(u.device.type, enabled=False):
            inputs, spectrum = torch.fft.rfft(u.to(taps.dtype), n=size), torch.fft.rfft(taps, n=size).unsqueeze(1)
            ctx.save_for_backward(u, taps, inputs if ctx.needs_input_grad[1] else None, spectrum)
            y: Tensor = torch.fft.irfft(inputs * spectrum, n=size)[..., first : first + u.shape[-1]]
        return y.to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The correlations of the gradient with the taps and with the input."""
        u, taps, inputs, spectrum = ctx.saved_tensors
        if torch.is_grad_enabled():  # these gradients are to be differentiated
            plain, wanted = by_fft_plain(u, taps), [tensor for tensor in (u, taps) if tensor.requires_grad]
            found = iter(torch.autograd.grad(plain, wanted, gradients[0], create_graph=True))
            return tuple(next(found) if tensor.requires_grad else None for tensor in (u, taps))
        size, first, dtaps = fft_size(u.shape[-1]), first_lag(u, taps), None
        with torch.autocast(u.device.type, enabled=False):
            dy = gradients[0].to(taps.dtype)
            dy = torch.fft.rfft(F.pad(dy, (first, 0)) if first else dy, n=size)  # (D, B, F)
            if inputs is not None:
                dtaps = torch.fft.irfft(torch.linalg.vecdot(inputs, dy, dim=1), n=size)[..., : taps.shape[-1]]
            du = torch.fft.irfft(dy.mul_(spectrum.conj()), n=size)[..., : u.shape[-1]]
        return du.to(u.dtype), dtaps


def columns_pay(width: int, batch: int, length: int, most: int) -> bool:
    """Whether the Toeplitz product beats the FFT: its matrix costs the same for any batch, and grows with L^2."""
    fits = width * length * min(length, BLOCK) <= TOEPLITZ_LIMIT
    return fits and length <= min(most * batch, LONGEST)


def convolve(u: ChannelFirst, taps: Taps) -> ChannelFirst:
    """y (D, B, L) by the route that is fastest at this size."""
    width, batch, length = u.shape
    if columns_pay(width, batch, length, TOKENS_A_SEQUENCE):
        return by_toeplitz(u, taps, min(length, BLOCK))
    return by_fft(u, taps)


class FixedConvolution(nn.Module):
    """The convolution of `length` tokens with fixed taps, by the Toeplitz product or the FFT, as suits the batch."""

    columns: Tensor | None
    spectrum: Tensor

    def __init__(self, taps: Taps, length: int):
        super().__init__()
        self.length = length
        self.causal = taps.shape[-1] == length
        fits = columns_pay(len(taps), length, length, FIXED_TOKENS_A_SEQUENCE)
        columns = toeplitz_columns(taps, length, min(length, BLOCK)) if fits else None
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("spectrum", torch.fft.rfft(taps, n=fft_size(length)), persistent=False)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) for u (D, B, L); raises ValueError if L is not the length it was made for."""
        width, batch, length = u.shape
        if length != self.length:
            raise ValueError(f"this convolution was made for {self.length} tokens, not {length}")
        if self.columns is not None and columns_pay(width, batch, length, FIXED_TOKENS_A_SEQUENCE):
            return by_columns(u, self.columns)
        return by_spectrum(u, self.spectrum, self.causal)
