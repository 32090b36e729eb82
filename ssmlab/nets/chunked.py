"""The convolution of a linear time-invariant SSM in chunks, with the state passed from one chunk to the next.

A channel's kernel is K[l] = C A^l B with a real state of R numbers: A (D, R, R), B, C (D, R). The sequence is cut into
n chunks of T tokens. With u_j the j-th chunk, h_j the state after it, both as rows, and ^t for the transpose,

    y_j = u_j Toeplitz(K) + h_{j-1} [(C A)^t, (C A^2)^t, ...],     h_j = h_{j-1} (A^T)^t + u_j [A^{T-1} B, ..., B]^t

A chunk's own output and what it adds to the state are one product, with a matrix (T, T + R); then come n small
products for the states, and one product that reads them out, with a matrix (R, T). A kernel over the future runs the
other way in the same products. All matrices depend on parameters alone, so a frozen model holds them. A token costs
T + 2 R + R^2 / T multiplications a channel, whatever L is; with the whole Toeplitz matrix it costs L / 2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.shapes import ChannelFirst, ChunkStates, RealModes, StateMatrix, Taps


class Realisation(NamedTuple):
    """A state space with K[l] = C A^l B, real and float64; every mode of A decays."""

    A: Tensor  # (D, R, R)
    B: Tensor  # (D, R)
    C: Tensor  # (D, R)


def powers_on_both_sides(system: Realisation, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """A^k B and C A^(k+1) for k < count, (D, R, count) and (D, count, R), and A^count; `count` a power of two."""
    inputs, outputs, power = system.B[..., None], system.C[:, None] @ system.A, system.A
    while inputs.shape[-1] < count:
        inputs = torch.cat([inputs, power @ inputs], dim=-1)
        outputs = torch.cat([outputs, outputs @ power], dim=1)
        power = power @ power
    return inputs, outputs, power


class ChunkedConvolution(nn.Module):
    """The convolution of `length` tokens with fixed taps, (D, L) or two-sided (D, 2 L - 1), in chunks of T tokens.

    `past` gives all taps of positive lag, `future`, where taps are two-sided, all of negative lag. The tap at lag zero
    is free, so the feed-through can be in it. T is a power of two; L need not be a multiple of it.
    """

    into: Tensor  # (D, T, T + R): the chunk's own Toeplitz matrix, and the way into the states
    out: Tensor  # (D, R, T)

    def __init__(self, taps: Taps, length: int, chunk: int, past: Realisation, future: Realisation | None = None):
        super().__init__()
        self.length, self.chunk = length, chunk
        lags = F.pad(taps, (0, chunk)) if future else F.pad(taps, (length - 1, chunk))
        lags = F.pad(lags, (max(0, chunk - length), 0))  # the present is now at place max(L, T) - 1
        present = max(length, chunk) - 1
        near = lags[:, present - chunk + 1 : present + chunk]  # (D, 2 T - 1)
        into = [near.unfold(-1, chunk, 1).flip(1)]  # (D, T, T): entry s, t weighs u[s] in y[t]
        inputs, outputs, power = powers_on_both_sides(past, chunk)
        into.append(inputs.flip(-1).transpose(1, 2))
        out, carries = [outputs.transpose(1, 2)], [power]
        if future is not None:
            inputs, outputs, power = powers_on_both_sides(future, chunk)
            into.append(inputs.transpose(1, 2))
            out.append(outputs.flip(1).transpose(1, 2))
            carries.append(power)
        self.register_buffer("into", torch.cat([part.to(taps.dtype) for part in into], dim=-1), persistent=False)
        self.register_buffer("out", torch.cat(out, dim=1).to(taps.dtype), persistent=False)
        self.states = [carry.shape[-1] for carry in carries]
        for side, carry in zip(("past", "future"), carries, strict=False):
            self.register_buffer(side, carry.transpose(1, 2).to(taps.dtype).contiguous(), persistent=False)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) for u (D, B, L); raises ValueError if L is not the length it was made for."""
        width, batch, length = u.shape
        if length != self.length:
            raise ValueError(f"this convolution was made for {self.length} tokens, not {length}")
        chunks = -(-length // self.chunk)
        padded = F.pad(u, (0, chunks * self.chunk - length))
        both = torch.bmm(padded.reshape(width, batch * chunks, self.chunk), self.into)  # (D, B n, T + R)
        own, *added = torch.split(both, [self.chunk, *self.states], dim=-1)
        with torch.autocast(u.device.type, enabled=False):  # the states are never in half precision
            carried = [
                outside_states(part.to(carry.dtype).view(width, batch, chunks, -1), carry, back)
                for part, (carry, back) in zip(added, self.carries(), strict=True)
            ]  # (D, B, n, R) each
        states = carried[0] if len(carried) == 1 else torch.cat(carried, dim=-1)
        y = torch.baddbmm(own, states.flatten(1, 2).to(own.dtype), self.out.to(own.dtype))
        return y.view(width, batch, -1)[..., :length]  # (D, B, L)

    def carries(self) -> list[tuple[Tensor, bool]]:
        """The matrices that bring states from chunk to chunk, and whether they go from the last to the first."""
        return [(self.get_buffer(side), side == "future") for side in ("past", "future")[: len(self.states)]]


def outside_states(added: ChunkStates, carry: StateMatrix, back: bool) -> ChunkStates:
    """The state with which each chunk begins, h_{j-1} of h_j = h_{j-1} carry + added_j; `back`: from the last chunk."""
    states: Tensor = PassStates.apply(added, carry, back)  # type: ignore[no-untyped-call]
    return states


class PassStates(torch.autograd.Function):
    """`outside_states`. The gradient runs the other way, with the carry transposed; the carry itself takes none."""

    @staticmethod
    def forward(ctx: Any, added: Tensor, carry: Tensor, back: bool) -> Tensor:
        """States (D, B, n, R)."""
        ctx.save_for_backward(carry)
        ctx.back = back
        order = range(added.shape[2])
        states = torch.empty_like(added, memory_format=torch.contiguous_format)
        state = torch.zeros_like(added[:, :, 0])  # (D, B, R)
        for j in reversed(order) if back else order:
            states[:, :, j] = state
            state = torch.baddbmm(added[:, :, j], state, carry)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient to what each chunk adds."""
        (carry,) = ctx.saved_tensors
        gradient: Tensor = PassStates.apply(gradients[0], carry.transpose(1, 2), not ctx.back)  # type: ignore[no-untyped-call]
        return gradient, None, None


def rotations(decay: RealModes, angle: RealModes) -> StateMatrix:
    """The real matrix (D, 2 N, 2 N) of N complex modes decay e^{i angle}, real parts first, then imaginary ones."""
    real, imaginary = torch.diag_embed(decay * angle.cos()), torch.diag_embed(decay * angle.sin())
    return torch.cat([torch.cat([real, -imaginary], dim=2), torch.cat([imaginary, real], dim=2)], dim=1)
