"""Convolution of whole sequences with one kernel a channel, by several routes.

u (D, B, L): channel-first sequences. taps (D, 2L-1): the kernel over all lags, taps[:, L-1+k] weighs the input k tokens
back; a causal kernel (D, L) is its second half. Every route computes

    y[d, b, t] = sum over s of taps[d, L-1 + t-s] u[d, b, s]

Channel-first, because then a route is one batched product or one FFT along contiguous memory, and the linear map after
it reads y transposed inside its own matrix product, for free.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOEPLITZ_LIMIT = 2**25  # entries of a (D, L, L) matrix: 128 MiB in float32; longer sequences go through the FFT


def channel_first(u: Tensor) -> Tensor:
    """(B, L, D) as contiguous (D, B, L)."""
    batch, length, width = u.shape
    return u.reshape(batch * length, width).t().contiguous().view(width, batch, length)  # (D, B, L)


def causal_taps(kernel: Tensor) -> Tensor:
    """A causal kernel (D, L) as taps over all lags (D, 2L-1): no weight on the future."""
    return F.pad(kernel, (kernel.shape[-1] - 1, 0))  # (D, 2 L - 1)


def toeplitz(taps: Tensor) -> Tensor:
    """The matrices T (D, L, L) with y = u @ T for each channel: T[d, s, t] = taps[d, L-1 + t-s]."""
    width, lags = taps.shape
    length = (lags + 1) // 2
    # Rows of 2L-1 entries read as rows of 2L-2 slip by one place a row; then row s starts s places earlier.
    rows = taps.unsqueeze(1).expand(width, length, lags).reshape(width, -1)  # (D, L (2 L - 1))
    return rows.as_strided((width, length, length), (length * lags, lags - 1, 1), rows.storage_offset() + length - 1)


def by_toeplitz(u: Tensor, taps: Tensor) -> Tensor:
    """y (D, B, L) as one batched matrix product."""
    return torch.bmm(u, toeplitz(taps))  # (D, B, L)


def by_fft(u: Tensor, taps: Tensor) -> Tensor:
    """y (D, B, L) through the real FFT, in the precision of `taps`."""
    length = u.shape[-1]
    size = 1 << (2 * length - 2).bit_length()  # of the whole convolution's 3L-2 terms only ones not wanted wrap around
    with torch.autocast(u.device.type, enabled=False):
        spectrum = torch.fft.rfft(u.to(taps.dtype), n=size) * torch.fft.rfft(taps, n=size).unsqueeze(1)
        y: Tensor = torch.fft.irfft(spectrum, n=size)
    return y[..., length - 1 : 2 * length - 1].to(u.dtype)  # (D, B, L)


def convolve(u: Tensor, taps: Tensor) -> Tensor:
    """y (D, B, L) by the product, which is the faster route, unless its matrix would be too large: then by the FFT."""
    fits = taps.shape[0] * u.shape[-1] ** 2 <= TOEPLITZ_LIMIT
    return by_toeplitz(u, taps) if fits else by_fft(u, taps)


class FixedToeplitz(nn.Module):
    """A convolution whose Toeplitz matrix is at hand."""

    matrix: Tensor

    def __init__(self, taps: Tensor):
        super().__init__()
        self.register_buffer("matrix", toeplitz(taps).contiguous(), persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """y (D, B, L) for u (D, B, L)."""
        return torch.bmm(u, self.matrix)


class FixedTaps(nn.Module):
    """A convolution whose taps are at hand, for lengths at which the matrix would be too large."""

    taps: Tensor

    def __init__(self, taps: Tensor):
        super().__init__()
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """y (D, B, L) for u (D, B, L)."""
        return by_fft(u, self.taps)


def fixed_convolution(taps: Tensor) -> nn.Module:
    """The convolution with `taps` (D, 2L-1), prepared for many calls."""
    width, lags = taps.shape
    return FixedToeplitz(taps) if width * ((lags + 1) // 2) ** 2 <= TOEPLITZ_LIMIT else FixedTaps(taps)
