"""The selective scan of Mamba (Gu and Dao 2023, algorithm 2), token-first.

x, dt (L, B, Di): input and step sizes. A (Di, N) < 0. B, C (L, B, N): input and output maps of each token.

    h[t, e, n] = exp(dt[t, e] A[e, n]) h[t-1, e, n] + dt[t, e] B[t, n] x[t, e],
    y[t, e] = sum over n of C[t, n] h[t, e, n]

Memory: all states h together are B L Di N numbers, N times the layer's activations (B 64, L 1024, Di 256, N 16: 1 GiB).
They are never stored at the same time. The sequence is cut into chunks of T tokens, and the last state of a chunk is
passed to the next one. The backward pass needs the inputs and the state before each chunk, B L (2 Di + 2 N) +
B (L / T) Di N numbers; it computes the states of each chunk again. T is the number of tokens whose states fill
CHUNK_ENTRIES, but at least LEAST_TOKENS. All chunks use the same memory, so on a CPU it stays in a core's cache.

Within a chunk the recurrence goes token by token on a CPU. A token's states are thousands of numbers, and a parallel
scan (scan.py) would read them several times. On a GPU, where every token would be a kernel launch, it is such a scan.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssmlab.nets.scan import by_doubling, combine_
from ssmlab.nets.second_gradients import plain_gradients
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


class Workspace:
    """The memory for the states of a chunk.

    Attributes:
        rates: (N, Di), A with the memory order of the states.
        decay: (T, B, N, Di), exp(dt A) of every token.
        h: (T + 1, B, N, Di), the state before the chunk, then the state after every token.
        g: (T, B, N, Di), the gradients of the states, only for a backward pass.
    """

    def __init__(self, x: TokenFirst, A: Transition, back: bool = False):
        state = A.shape[1]
        tokens = min(chunk_tokens(x, state), len(x))
        self.decay = x.new_empty(tokens, x.shape[1], state, x.shape[2])
        self.h = x.new_zeros(tokens + 1, *self.decay.shape[1:])
        self.g = torch.empty_like(self.decay) if back else self.decay[:0]
        self.rates = A.t().contiguous()
        self.steps = x.device.type == "cpu"
        self.decays, self.states, self.gradients = (t.unbind(0) for t in (self.decay, self.h, self.g))  # views

    def compute_states(self, x: Chunk, dt: Chunk, B: ChunkMaps) -> TokenStates:
        """The states (t, B, N, Di) after each of t <= T tokens; `decay` and the state before them are in place."""
        count = len(x)
        decay, h = self.decay[:count], self.h[1 : count + 1]
        torch.mul(dt.unsqueeze(2), self.rates, out=decay).exp_()
        torch.mul(B.unsqueeze(-1), (dt * x).unsqueeze(2), out=h)
        if self.steps:
            for t in range(count):
                self.states[t + 1].addcmul_(self.decays[t], self.states[t])
        else:
            h[0].addcmul_(decay[0], self.h[0])
            combine_(decay.clone(), h)
        return h

    def compute_gradients(self, dy: Chunk, C: ChunkMaps, later: State) -> TokenStates:
        """The gradients g (t, B, N, Di) of a chunk's states; `later` is what the tokens after the chunk contribute."""
        count = len(dy)
        g = torch.mul(C.unsqueeze(-1), dy.unsqueeze(2), out=self.g[:count])
        g[-1] += later
        if self.steps:
            for t in reversed(range(count - 1)):
                self.gradients[t].addcmul_(self.decays[t + 1], self.gradients[t + 1])
        else:
            combine_(self.decay[:count].roll(-1, 0), g, back=True)
        return g


def outputs(h: TokenStates, C: ChunkMaps) -> Chunk:
    """The sum over n of C (T, B, N) times h (T, B, N, Di): (T, B, Di)."""
    return torch.matmul(C.unsqueeze(2), h).squeeze(2)


class SelectiveScan(torch.autograd.Function):
    """The selective scan with its gradients, chunk by chunk."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """y (L, B, Di)."""
        work, tokens = Workspace(x, A), chunk_tokens(x, A.shape[1])
        befores, y = [], torch.empty_like(x)
        for start in range(0, len(x), tokens):
            part = slice(start, start + tokens)
            befores.append(work.h[0].clone())
            h = work.compute_states(x[part], dt[part], B[part])
            y[part] = outputs(h, C[part])
            work.h[0] = h[-1]
        ctx.save_for_backward(x, dt, A, B, C, torch.stack(befores))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, dt, A, B and C.

        The gradient of h[t] is g[t] = C[t] dy[t] + exp(dt[t+1] A) g[t+1]. The gradient of dt[t] A is
        q[t] = g[t] h[t-1] exp(dt[t] A). Then d(dt x) = sum over n of g B, dB = sum over e of g dt x, and dC = sum over
        e of h dy. The gradient of dt also contains the sum over n of q A.
        """
        *inputs, befores = ctx.saved_tensors
        (dy,) = gradients
        if torch.is_grad_enabled():  # these gradients will be differentiated again
            return plain_gradients(by_whole_states, inputs, dy)
        x, dt, A, B, C = inputs
        work, tokens = Workspace(x, A, back=True), chunk_tokens(x, A.shape[1])
        dx, ddt, dB, dC = (torch.empty_like(t) for t in (x, dt, B, C))
        dA = torch.zeros_like(A) if ctx.needs_input_grad[2] else None
        later = torch.zeros_like(befores[0])  # exp(dt[t+1] A) g[t+1] at the chunk's last t, (B, N, Di)
        for i in reversed(range(len(befores))):
            part = slice(i * tokens, (i + 1) * tokens)
            step, moved = dt[part], dt[part] * x[part]  # (T, B, Di) each
            work.h[0] = befores[i]
            h = work.compute_states(x[part], step, B[part])
            dC[part] = torch.matmul(h, dy[part].unsqueeze(-1)).squeeze(-1)
            g = work.compute_gradients(dy[part], C[part], later)
            torch.mul(work.decay[0], g[0], out=later)
            dB[part] = torch.matmul(g, moved.unsqueeze(-1)).squeeze(-1)
            dmoved = outputs(g, B[part])  # (T, B, Di)
            dx[part] = dmoved * step
            q = g.mul_(work.decay[: len(g)]).mul_(work.h[: len(g)])  # (T, B, N, Di)
            if dA is not None:
                dA += torch.einsum("tbne,tbe->en", q, step)
            ddt[part] = torch.addcmul(q.mul_(work.rates).sum(2), dmoved, x[part])
        return dx, ddt, dA, dB, dC
