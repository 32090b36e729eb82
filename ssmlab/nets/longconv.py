"""Convolution of whole sequences with one kernel a channel, by several routes.

u (D, B, L): channel-first sequences. taps: the kernel of each channel, either causal, (D, L), taps[:, k] weighing the
input k tokens back, or over all lags, (D, 2L-1), taps[:, L-1+k] weighing it. Every route computes

    y[d, b, t] = sum over s of taps[d, t-s] u[d, b, s]      (causal; else taps[d, L-1 + t-s])

`by_fft` multiplies spectra. `by_columns` multiplies with the Toeplitz matrix of the kernel, T columns at a time: all
blocks of T columns are cuts of one, the last, so memory is D L T, and a causal block needs only the rows down to its
own. T = L is the whole matrix in one product.

Channel-first, because then a route is batched products or FFTs along contiguous memory, and the linear map after it
reads y transposed inside its own matrix product, for free.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOEPLITZ_LIMIT = 2**25  # entries of a (D, L, T) matrix: 128 MiB in float32


def channel_first(u: Tensor) -> Tensor:
    """(B, L, D) as contiguous (D, B, L)."""
    batch, length, width = u.shape
    return u.reshape(batch * length, width).t().contiguous().view(width, batch, length)  # (D, B, L)


def two_sided(past: Tensor, future: Tensor) -> Tensor:
    """Taps over all lags (D, 2L-1) of a kernel over the past and one over the future, both from the present, (D, L)."""
    reach = past.shape[-1] - 1
    return F.pad(past, (reach, 0)) + F.pad(future.flip(-1), (0, reach))  # (D, 2 L - 1)


def toeplitz_columns(taps: Tensor, length: int, block: int) -> Tensor:
    """The last `block` columns of the Toeplitz matrix, (D, R, block): entry s, t weighs u[s] in y[L - block + t].

    R = L rows for causal taps; two-sided ones have further rows, for the blocks to the left: 2 L less the leftmost
    block's columns.
    """
    leftmost = (length - 1) % block + 1
    before = block - 1 if taps.shape[-1] == length else block - leftmost
    return F.pad(taps, (before, 0)).unfold(-1, block, 1).flip(1)  # row s begins one lag before row s - 1


def by_columns(u: Tensor, columns: Tensor) -> Tensor:
    """y (D, B, L) as batched products with the `toeplitz_columns` of the taps."""
    length, block = u.shape[-1], columns.shape[-1]
    causal = columns.shape[1] == length
    parts = []
    for end in range(length, 0, -block):
        rows = end if causal else length
        first, skip = length - end, max(0, block - end)
        parts.append(torch.bmm(u[..., :rows], columns[:, first : first + rows, skip:]))  # (D, B, block)
    return parts[0] if len(parts) == 1 else torch.cat(parts[::-1], dim=-1)  # (D, B, L)


def by_toeplitz(u: Tensor, taps: Tensor, block: int | None = None) -> Tensor:
    """y (D, B, L) through blocks of `block` columns of the Toeplitz matrix; None for the whole."""
    length = u.shape[-1]
    return by_columns(u, toeplitz_columns(taps, length, block or length))


def fft_size(length: int) -> int:
    """A power of two that holds a convolution: of its terms beyond, only such as are not wanted wrap around."""
    return 1 << (2 * length - 2).bit_length()


def by_spectrum(u: Tensor, spectrum: Tensor, causal: bool) -> Tensor:
    """y (D, B, L) of u and the rfft (D, F) of its taps, in the precision of that."""
    length, size = u.shape[-1], fft_size(u.shape[-1])
    first = 0 if causal else length - 1
    with torch.autocast(u.device.type, enabled=False):
        wide = u.to(spectrum.real.dtype)
        y: Tensor = torch.fft.irfft(torch.fft.rfft(wide, n=size) * spectrum.unsqueeze(1), n=size)
    return y[..., first : first + length].to(u.dtype)  # (D, B, L)


def by_fft(u: Tensor, taps: Tensor) -> Tensor:
    """y (D, B, L) through the real FFT, in the precision of `taps`."""
    length = u.shape[-1]
    return by_spectrum(u, torch.fft.rfft(taps, n=fft_size(length)), taps.shape[-1] == length)


def block_columns(width: int, length: int) -> int | None:
    """How many columns of the Toeplitz matrix to multiply with at once; None where the FFT is the better route."""
    return length if width * length**2 <= TOEPLITZ_LIMIT else None


def convolve(u: Tensor, taps: Tensor) -> Tensor:
    """y (D, B, L) by the route that is fastest at this size (benchmarks/mixers.md)."""
    block = block_columns(len(taps), u.shape[-1])
    return by_fft(u, taps) if block is None else by_toeplitz(u, taps, block)


class FixedColumns(nn.Module):
    """A convolution whose Toeplitz matrix, or the last columns of it, is at hand."""

    columns: Tensor

    def __init__(self, columns: Tensor):
        super().__init__()
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """y (D, B, L) for u (D, B, L)."""
        return by_columns(u, self.columns)


class FixedSpectrum(nn.Module):
    """A convolution whose taps' spectrum is at hand."""

    spectrum: Tensor

    def __init__(self, spectrum: Tensor, causal: bool):
        super().__init__()
        self.register_buffer("spectrum", spectrum, persistent=False)
        self.causal = causal

    def forward(self, u: Tensor) -> Tensor:
        """y (D, B, L) for u (D, B, L)."""
        return by_spectrum(u, self.spectrum, self.causal)


def fixed_convolution(taps: Tensor, length: int) -> nn.Module:
    """The convolution of `length` tokens with `taps`, prepared for many calls."""
    block = block_columns(len(taps), length)
    if block is None:
        return FixedSpectrum(torch.fft.rfft(taps, n=fft_size(length)), taps.shape[-1] == length)
    return FixedColumns(toeplitz_columns(taps, length, block).contiguous())
