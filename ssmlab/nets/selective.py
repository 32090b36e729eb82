"""The selective scan of Mamba (Gu and Dao 2023, algorithm 2), token-first.

x, dt (L, B, Di): input and step sizes. A (Di, N) < 0. B, C (L, B, N): input and output maps of each token.

    h[t, e, n] = exp(dt[t, e] A[e, n]) h[t-1, e, n] + dt[t, e] B[t, n] x[t, e],
    y[t, e] = sum over n of C[t, n] h[t, e, n]

Memory: all states h together are B L Di N numbers, N times the layer's activations (B 64, L 1024, Di 256, N 16: 1 GiB).
They are never stored at the same time. The sequence is cut into chunks of T tokens. Within a chunk the recurrence is a
parallel scan (scan.py), and the last state is passed to the next chunk. The backward pass needs the inputs and the
state before each chunk, B L (2 Di + 2 N) + B (L / T) Di N numbers; it computes the states of each chunk again. T is the
number of tokens whose states fill CHUNK_ENTRIES, but at least LEAST_TOKENS.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssmlab.nets.scan import by_doubling, combine_
from ssmlab.nets.shapes import Chunk, ChunkMaps, State, TokenFirst, TokenMaps, TokenStates, Transition

# Numbers in the states of a chunk: on a CPU they fit into a core's cache; on a GPU they take 1 GiB and need few kernel
# launches.
CHUNK_ENTRIES = {"cpu": 2**18, "cuda": 2**28}
LEAST_TOKENS = 8  # shorter chunks would save little memory and would process the sequence almost step by step


def selective_scan(x: TokenFirst, dt: TokenFirst, A: Transition, B: TokenMaps, C: TokenMaps) -> TokenFirst:
    """y (L, B, Di) for x, dt (L, B, Di), A (Di, N) and B, C (L, B, N), all with the same real dtype."""
    if torch.compiler.is_compiling():  # a traced graph must hold for any batch, and chunks depend on it
        return by_whole_states(x, dt, A, B, C)
    y: Tensor = SelectiveScan.apply(x, dt, A, B, C)  # type: ignore[no-untyped-call]
    return y


def by_whole_states(x: TokenFirst, dt: TokenFirst, A: Transition, B: TokenMaps, C: TokenMaps) -> TokenFirst:
    """The same y (L, B, Di) with all B L Di N states in memory at once, and nothing overwritten."""
    decay = torch.exp(dt.unsqueeze(2) * A.t())  # (L, B, N, Di)
    return outputs(by_doubling(decay, B.unsqueeze(-1) * (dt * x).unsqueeze(2)), C)


def chunk_tokens(x: TokenFirst, state: int) -> int:
    """T, the number of tokens in a chunk, for x (L, B, Di) and N = `state`."""
    return max(LEAST_TOKENS, CHUNK_ENTRIES[x.device.type] // (x[0].numel() * state))


def chunk_states(x: Chunk, dt: Chunk, A: Transition, B: ChunkMaps, before: State) -> tuple[TokenStates, TokenStates]:
    """The decays and the states (T, B, N, Di) of a chunk; `before` (B, N, Di) is the state before the chunk."""
    decay = torch.exp(dt.unsqueeze(2) * A.t())  # (T, B, N, Di)
    h = B.unsqueeze(-1) * (dt * x).unsqueeze(2)  # (T, B, N, Di)
    h[0].addcmul_(decay[0], before)
    return decay, combine_(decay.clone(), h)


def outputs(h: TokenStates, C: ChunkMaps) -> Chunk:
    """The sum over n of C (T, B, N) times h (T, B, N, Di): (T, B, Di)."""
    return torch.matmul(C.unsqueeze(2), h).squeeze(2)


class SelectiveScan(torch.autograd.Function):
    """The selective scan with its gradients, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """y (L, B, Di)."""
        tokens = chunk_tokens(x, A.shape[1])
        state = x.new_zeros(x.shape[1], A.shape[1], x.shape[2])  # (B, N, Di)
        befores, y = [], torch.empty_like(x)
        for start in range(0, len(x), tokens):
            part = slice(start, start + tokens)
            befores.append(state)
            _, h = chunk_states(x[part], dt[part], A, B[part], state)
            y[part] = outputs(h, C[part])
            state = h[-1].clone()
        ctx.save_for_backward(x, dt, A, B, C, torch.stack(befores))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, dt, A, B and C.

        The gradient of h[t] is g[t] = C[t] dy[t] + exp(dt[t+1] A) g[t+1]. The gradient of dt[t] A is
        q[t] = g[t] h[t-1] exp(dt[t] A). Then d(dt x) = sum over n of g B, dB = sum over e of g dt x, and dC = sum over
        e of h dy. The gradient of dt also contains the sum over n of q A.
        """
        x, dt, A, B, C, befores = ctx.saved_tensors
        (dy,) = gradients
        tokens = chunk_tokens(x, A.shape[1])
        dx, ddt, dB, dC = (torch.empty_like(t) for t in (x, dt, B, C))
        dA = torch.zeros_like(A) if ctx.needs_input_grad[2] else None
        later = torch.zeros_like(befores[0])  # exp(dt[t+1] A) g[t+1] at the chunk's last t, (B, N, Di)
        for i in reversed(range(len(befores))):
            part = slice(i * tokens, (i + 1) * tokens)
            step, moved = dt[part], dt[part] * x[part]  # (T, B, Di) each
            decay, h = chunk_states(x[part], step, A, B[part], befores[i])
            dC[part] = torch.matmul(h, dy[part].unsqueeze(-1)).squeeze(-1)
            g = C[part].unsqueeze(-1) * dy[part].unsqueeze(2)  # (T, B, N, Di)
            g[-1] += later
            combine_(decay.roll(-1, 0), g, back=True)
            later = decay[0] * g[0]
            dB[part] = torch.matmul(g, moved.unsqueeze(-1)).squeeze(-1)
            dmoved = outputs(g, B[part])  # (T, B, Di)
            previous = torch.cat([befores[i].unsqueeze(0), h[:-1]])  # (T, B, N, Di)
            q = decay.mul_(g).mul_(previous)  # (T, B, N, Di)
            ddt[part] = dmoved * x[part] + torch.einsum("tbne,en->tbe", q, A)
            dx[part] = dmoved * step
            if dA is not None:
                dA += torch.einsum("tbne,tbe->en", q, step)
        return dx, ddt, dA, dB, dC
