"""Bounds on how much a linear, time-invariant SSM can amplify an error, computed from its taps.

For a sequence u (L,) of one channel, y = T u. T[t, s] = k[t - s] is the L x L Toeplitz matrix of the channel's taps,
with the skip in lag 0. Then for every error e of the input:

    max |T e| <= peak max |e|,            peak = max over t of sum over s of |T[t, s]|, for causal taps |k|_1
    floor |e| <= |T e| <= energy |e|      (Euclidean), energy and floor: the largest and smallest singular value of T

All three bounds can be reached: peak by e[s] = sign(T[t, s]) at the worst t (`worst_input`), the others by singular
vectors. S5 mixes the channels, so its taps are one matrix per lag, K[l] (D, D). The peak of an output channel is then
the sum over all input channels of the |k|_1 between them. The energy of S5 is not computed (its matrix is D L x D L).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssmlab.nets.s5 import S5
from ssmlab.nets.ssm_block import LinearSsm

MOST_ENTRIES = 2**25  # entries of all Toeplitz matrices for singular values: 128 MiB in float32


def impulse_responses(ssm: LinearSsm | S5, length: int) -> Tensor:
    """The taps, float64: (D, L) for a causal convolution, (D, 2 L - 1) with past and future, (D, D, L) for S5.

    The dimensions for S5 are [out, in, lag].
    """
    with torch.no_grad():
        if isinstance(ssm, LinearSsm):
            return ssm.taps(length).double()
        width = len(ssm.skip)
        impulses = torch.zeros(width, width, length, dtype=ssm.skip.dtype, device=ssm.skip.device)  # (in, B, L)
        impulses[:, :, 0] = torch.eye(width)
        return ssm(impulses).double()  # type: ignore[no-any-return]


def toeplitz(taps: Tensor, length: int) -> Tensor:
    """T (D, L, L) from taps (D, L) or (D, 2 L - 1): T[d, t, s] is the weight of input s in output t."""
    lags = taps if taps.shape[-1] > length or length == 1 else nn.functional.pad(taps, (length - 1, 0))  # (D, 2 L - 1)
    place = torch.arange(length, device=taps.device)
    return lags[:, place[:, None] - place[None, :] + length - 1]  # (D, L, L)


def peak_gains(taps: Tensor, length: int) -> Tensor:
    """(D, D'): the largest change of output channel D by an error of at most 1 in input channel D'.

    It is diagonal for convolutions. `taps` come from `impulse_responses`.
    """
    if taps.dim() == 3:
        return taps.abs().sum(-1)
    if taps.shape[-1] == length:
        return torch.diag(taps.abs().sum(-1))
    window = taps.abs().unfold(-1, length, 1)  # (D, L, L): every row of |T|, reversed
    return torch.diag(window.sum(-1).max(-1).values)


def worst_input(taps: Tensor, length: int) -> Tensor:
    """The input (D, L) with entries -1, 0 and 1 that reaches the peak gain of each channel of a convolution."""
    matrix = toeplitz(taps, length)
    worst = matrix.abs().sum(-1).argmax(-1)  # (D,)
    return matrix[torch.arange(len(matrix)), worst].sign()


def energy_gains(taps: Tensor, length: int) -> tuple[Tensor, Tensor] | None:
    """The largest and the smallest singular value of T, (C,) each, for C of the D channels, evenly spaced.

    C = D unless the matrices would need too much memory and time. None for taps that mix channels.
    """
    if taps.dim() == 3:
        return None
    step = -(-len(taps) * length**2 // MOST_ENTRIES)
    values = torch.linalg.svdvals(toeplitz(taps[::step], length))  # (C, L)
    return values[:, 0], values[:, -1]


def tightness(taps: Tensor, clean: Tensor, attacked: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The measured output error of one SSM divided by its bound, (D, B) in [0, 1]; NaN if its input did not change.

    Args:
        clean, attacked: the SSM's inputs (D, B, L) for clean and for attacked images.
        before, after: the SSM's outputs (D, B, L) for these inputs.
    """
    moved = (attacked - clean).abs().amax(-1).double()  # (D', B)
    measured = (after - before).abs().amax(-1).double()  # (D, B)
    return measured / (peak_gains(taps, clean.shape[-1]) @ moved)
