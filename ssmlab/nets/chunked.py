"""Computes the convolution of a linear time-invariant SSM in chunks and passes the state from chunk to chunk.

A channel's kernel is K[l] = C A^l B with a real state of R numbers: A (D, R, R), B, C (D, R). The sequence is cut into
n chunks of T tokens. Let u_j be the j-th chunk and h_j the state after it, both as rows, and ^t the transpose. Then

    y_j = u_j Toeplitz(K) + h_{j-1} [(C A)^t, (C A^2)^t, ...],     h_j = h_{j-1} (A^T)^t + u_j [A^{T-1} B, ..., B]^t

There are four products: each chunk with the Toeplitz matrix (T, T); each chunk with the input map of the state (T, R);
n small products that pass the state on; and the states with the output map (R, T). The last products are added to the
outputs of the chunks in place. A kernel over the future uses the same products in the opposite direction. All matrices
depend on parameters only, so a frozen model stores them. A token costs T + 2 R + R^2 / T multiplications per channel
for any L; with the whole Toeplitz matrix it costs L / 2. The gradient is a convolution of the same form with transposed
matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.shapes import ChannelFirst, ChunkStates, PerChannel, StateMatrix

# Forward pass and backward pass to the input, D 64, one thread: CPU time of the FFT or the Toeplitz product (the one
# that `convolve` would choose) divided by the CPU time of chunks of 64 tokens (2026-11-26; R: numbers in a channel's
# state; the two columns are B 8 and B 32):
#     L    R = 8        R = 32       R = 64
#     196  1.24  0.89   1.02  0.63   0.64  0.44
#     400  1.80  1.67   1.42  1.28   0.86  0.79
#     784  2.33  2.67   1.69  2.15   1.18  1.58
#     1024 2.24  3.92   1.75  3.08   1.18  2.37
#     4096 4.21         3.12         (B 8 only)
#
# With one sequence the FFT is faster up to L = 1,024 (chunks reach 0.5 to 0.95 of its speed); attacks use larger
# batches.
CHUNKS_PAY_FROM = 8  # chunks are used if L >= this * (R + 32)
# Tokens in a chunk, roughly. L 784, R 32, B 32, D 128 takes 36 ms with 56, 42 with 112, 46 with 28. With R 64, 112 is
# as fast in float32 and faster in bfloat16.
CHUNK, CHUNK_OF_LARGE_STATES = 56, 112
LARGE_STATE = 64


def chunks_pay(length: int, state: int) -> bool:
    """Whether chunks are faster than the other routes, for fixed taps with `state` numbers per channel."""
    return length >= CHUNKS_PAY_FROM * (state + 32)


class Powers(NamedTuple):
    """The matrices of a state space that chunks of T tokens need, real and float64."""

    inputs: Tensor  # (D, T, R): the rows (A^k B)^T for k < T
    outputs: Tensor  # (D, T, R): the rows C A^(k+1) for k < T
    carry: Tensor  # (D, R, R): A^T


@dataclass(frozen=True, kw_only=True)
class StateSpace:
    """A real state space with K[l] = C A^l B, in which every mode of A decays."""

    B: Tensor  # (D, R) float64
    C: Tensor  # (D, R) float64

    def powers(self, count: int) -> Powers:
        """The powers for chunks of `count` tokens."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Realisation(StateSpace):
    """A state space with a dense A."""

    A: Tensor  # (D, R, R) float64
    squares: tuple[Tensor, ...] = ()  # A, A^2, A^4, ..., as many as were computed

    def powers(self, count: int) -> Powers:
        """The rows of both sides, doubled in number with every square of A."""
        inputs, outputs = (v.new_empty(len(v), count, v.shape[1]) for v in (self.B, self.C))  # (D, T, R)
        inputs[:, 0], outputs[:, 0] = self.B, torch.bmm(self.C[:, None], self.A)[:, 0]
        squares = squares_up_to(self.A, count, self.squares)
        for place, power in enumerate(squares):  # power is A^have
            have = 1 << place
            more = min(have, count - have)
            if more <= 0:
                break
            inputs[:, have : have + more] = torch.bmm(inputs[:, :more], power.transpose(1, 2))
            outputs[:, have : have + more] = torch.bmm(outputs[:, :more], power)
        return Powers(inputs, outputs, matrix_power(squares, count))


def squares_up_to(A: StateMatrix, count: int, known: Sequence[Tensor] = ()) -> list[Tensor]:
    """A, A^2, A^4, ... up to the highest one needed for A^count; `known` holds the first of them."""
    squares = list(known) or [A]
    while 1 << len(squares) <= count:
        squares.append(torch.bmm(squares[-1], squares[-1]))
    return squares


def matrix_power(squares: Sequence[Tensor], count: int) -> StateMatrix:
    """A^count from `squares_up_to(A, count)`: the product of the squares at the 1 bits of `count`."""
    factors = [square for place, square in enumerate(squares) if count >> place & 1]
    return reduce(torch.bmm, factors)


def even_chunks(length: int, state: int) -> int:
    """T, the number of tokens in a chunk for states of R = `state` numbers: the last chunk is as full as possible."""
    wanted = CHUNK if state < LARGE_STATE else CHUNK_OF_LARGE_STATES
    sizes = range(min(length, wanted * 3 // 4), min(length, wanted * 5 // 4) + 1)
    return min(sizes, key=lambda size: (-length % size, abs(size - wanted)))


class ChunkedConvolution(nn.Module):
    """The convolution of `length` tokens in chunks of T = `chunk` tokens.

    Its taps are the kernel of `past` for lags >= 0, plus the kernel of `future`, if given, for lags <= 0, plus `feed`
    (D,) at lag 0. All matrices have the dtype of `feed`. L need not be a multiple of T, but then the input is copied.
    """

    full_precision_tensors = frozenset({"past", "future"})  # the states are never in half precision

    own: Tensor  # (D, T, T): the Toeplitz matrix of a chunk; entry (s, t) is the weight of u[s] in y[t]
    into: Tensor  # (D, T, R): the map from a chunk to the state
    out: Tensor  # (D, R, T): the map from the state to a chunk

    def __init__(self, feed: PerChannel, length: int, chunk: int, past: StateSpace, future: StateSpace | None = None):
        super().__init__()
        self.length, self.chunk, dtype = length, chunk, feed.dtype
        inputs, outputs, carry = past.powers(chunk)
        near = F.pad(first_taps(past, outputs), (chunk - 1, 0))  # (D, 2 T - 1)
        near[:, chunk - 1] += feed
        into, out, carries = [inputs.to(dtype).flip(1)], [outputs], [carry]
        if future is not None:
            inputs, outputs, carry = future.powers(chunk)
            near[:, :chunk] += first_taps(future, outputs).flip(-1)
            into.append(inputs.to(dtype))
            out.append(outputs.to(dtype).flip(1))
            carries.append(carry)
        self.keep("own", near.to(dtype).unfold(-1, chunk, 1).flip(1))
        self.keep("into", torch.cat(into, dim=-1).to(dtype))
        self.keep("out", torch.cat([part.to(dtype).transpose(1, 2) for part in out], dim=1))
        self.sides = ("past", "future")[: len(carries)]
        for side, carry in zip(self.sides, carries, strict=True):
            self.keep(side, carry.to(dtype).transpose(1, 2))

    def keep(self, name: str, matrix: Tensor) -> None:
        self.register_buffer(name, matrix.contiguous(), persistent=False)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) for u (D, B, L).

        Raises:
            ValueError: L is not the length that this convolution was built for.
        """
        width, batch, length = u.shape
        if length != self.length:
            raise ValueError(f"this convolution was made for {self.length} tokens, not {length}")
        device = u.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.own.dtype
        chunks = -(-length // self.chunk)
        missing = chunks * self.chunk - length
        padded = F.pad(u.to(dtype), (0, missing)) if missing else u.to(dtype)  # `pad` copies even if it adds nothing
        matrices = [matrix.to(dtype) for matrix in (self.own, self.into, self.out)]
        carries = [self.get_buffer(side) for side in self.sides]
        y: Tensor = ChunkProducts.apply(padded.reshape(width, batch, chunks, -1), *matrices, False, *carries)  # type: ignore[no-untyped-call]
        return y.view(width, batch, -1)[..., :length]  # (D, B, L)


class ChunkProducts(torch.autograd.Function):
    """The outputs (D, B, n, T) of all chunks for inputs of that shape. The matrices get no gradient.

    The first carry passes states to the next chunk; the second carry, if there is one, passes states to the previous
    chunk. `back` swaps the directions. States have the dtype of the carries, also for inputs of another dtype.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, own: Tensor, into: Tensor, out: Tensor, back: bool, *carries: Tensor) -> Tensor:
        """The outputs within each chunk plus the outputs of the passed states."""
        ctx.save_for_backward(own, into, out, *carries)
        ctx.back = back
        rows = u.flatten(1, 2)  # (D, B n, T)
        with torch.autocast(u.device.type, enabled=False):
            y = torch.bmm(rows, own)
            states = torch.bmm(rows, into).view(*u.shape[:3], -1).to(carries[0].dtype)  # (D, B, n, R)
            sides = torch.split(states, [carry.shape[-1] for carry in carries], dim=-1)
            for side, carry, onwards in zip(sides, carries, (not back, back), strict=False):
                pass_on_(side, carry, onwards)
            y.baddbmm_(states.flatten(1, 2).to(y.dtype), out)
        return y.view_as(u)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the input: the same products with transposed matrices in the opposite direction."""
        own, into, out, *carries = (matrix.transpose(1, 2) for matrix in ctx.saved_tensors)
        gradient: Tensor = ChunkProducts.apply(gradients[0].contiguous(), own, out, into, not ctx.back, *carries)  # type: ignore[no-untyped-call]
        return gradient, *[None] * (4 + len(carries))


def pass_on_(added: ChunkStates, carry: StateMatrix, onwards: bool) -> None:
    """Replace what each chunk adds to the state by the state before that chunk: h_j = h_{j-1} carry + added_j.

    If `onwards` is true, the state goes from the first chunk to the last, otherwise from the last to the first.
    """
    order = range(added.shape[2])
    state = torch.zeros_like(added[:, :, 0])  # (D, B, R)
    for j in order if onwards else reversed(order):
        following = torch.baddbmm(added[:, :, j], state, carry)
        added[:, :, j] = state
        state = following


def first_taps(system: StateSpace, outputs: Tensor) -> Tensor:
    """K[l] = C A^l B for l < T, (D, T); `outputs` (D, T, R) holds C A, C A^2, ..., C A^T."""
    rows = torch.cat([system.C[:, None], outputs[:, :-1]], dim=1)  # (D, T, R)
    return torch.bmm(rows, system.B[..., None])[..., 0]
