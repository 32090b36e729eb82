"""How much a linear, time-invariant SSM can enlarge an error, from its taps alone.

y = T u for a sequence u (L,) of one channel, T[t, s] = k[t - s] the L x L Toeplitz matrix of its taps, the skip in
lag 0. Then for every error e of the input:

    max |T e| <= peak max |e|,            peak = max over t of sum over s of |T[t, s]|, for causal taps |k|_1
    floor |e| <= |T e| <= energy |e|      (Euclidean), energy and floor: the largest and smallest singular value of T

All three are reached: peak by e[s] = sign(T[t, s]) at the worst t (`worst_input`), the others by singular vectors. S5
mixes the channels, so that its taps are a matrix a lag, K[l] (D, D), and its peak of an output channel is the sum over
all input channels of the |k|_1 between the two; its energy is not computed (a matrix of D L x D L).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssmlab.nets.s5 import S5
from ssmlab.nets.ssm_block import LinearSsm

MOST_ENTRIES = 2**25  # of the Toeplitz matrices whose singular values are computed: 128 MiB in float32


def impulse_responses(ssm: LinearSsm | S5, length: int) -> Tensor:
    """The taps, float64: (D, L) or, with a past and a future, (D, 2 L - 1) of a convolution; (D, D, L) of S5.

    The last gives [out, in, lag].
    """
    with torch.no_grad():
        if isinstance(ssm, LinearSsm):
            return ssm.taps(length).double()
        width = len(ssm.skip)
        impulses = torch.zeros(width, width, length, dtype=ssm.skip.dtype, device=ssm.skip.device)  # (in, B, L)
        impulses[:, :, 0] = torch.eye(width)
        return ssm(impulses).double()  # type: ignore[no-any-return]


def toeplitz(taps: Tensor, length: int) -> Tensor:
    """T (D, L, L) of taps (D, L) or (D, 2 L - 1): T[d, t, s] weighs the input s in the output t."""
    lags = taps if taps.shape[-1] > length or length == 1 else nn.functional.pad(taps, (length - 1, 0))  # (D, 2 L - 1)
    place = torch.arange(length, device=taps.device)
    return lags[:, place[:, None] - place[None, :] + length - 1]  # (D, L, L)


def peak_gains(taps: Tensor, length: int) -> Tensor:
    """(D, D'): how much an error of at most 1 in input channel D' can move output channel D anywhere.

    Diagonal for convolutions. `taps` as from `impulse_responses`.
    """
    if taps.dim() == 3:
        return taps.abs().sum(-1)
    if taps.shape[-1] == length:
        return torch.diag(taps.abs().sum(-1))
    window = taps.abs().unfold(-1, length, 1)  # (D, L, L): every row of |T|, reversed
    return torch.diag(window.sum(-1).max(-1).values)


def worst_input(taps: Tensor, length: int) -> Tensor:
    """The input (D, L) of entries -1, 0 and 1 that reaches the peak gain of each channel of a convolution."""
    matrix = toeplitz(taps, length)
    worst = matrix.abs().sum(-1).argmax(-1)  # (D,)
    return matrix[torch.arange(len(matrix)), worst].sign()


def energy_gains(taps: Tensor, length: int) -> tuple[Tensor, Tensor] | None:
    """The largest and the smallest singular value of T, (C,) each, for C channels evenly spread over the D there are.

    C = D unless the matrices are too large for memory and time; None for taps that mix channels.
    """
    if taps.dim() == 3:
        return None
    step = -(-len(taps) * length**2 // MOST_ENTRIES)
    values = torch.linalg.svdvals(toeplitz(taps[::step], length))  # (C, L)
    return values[:, 0], values[:, -1]


def tightness(taps: Tensor, clean: Tensor, attacked: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Measured output error over its bound, (D, B) in [0, 1], of one SSM.

    Args:
        clean, attacked: the SSM's inputs (D, B, L); before, after: its outputs for them. NaN where nothing was changed.
    """
    moved = (attacked - clean).abs().amax(-1).double()  # (D', B)
    measured = (after - before).abs().amax(-1).double()  # (D, B)
    return measured / (peak_gains(taps, clean.shape[-1]) @ moved)
