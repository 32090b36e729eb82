"""S5: one state space with all channels in and out (Smith et al. 2023, "Simplified State Space Layers for Sequence
Modeling").

u (D, B, L): input. P = `d_state` complex states. Lambda (P,): the diagonal of A. B (P, D), C (D, P): complex input and
output maps over all channels (MIMO). dt (P,): a step size for each state. skip (D,): the feed-through, D in the paper.

    x' = Lambda x + B u,  y = Re(C x) + skip u                                              (eq. 1, diagonalised)
    Lambda_ = exp(Lambda dt),  B_ = (Lambda_ - 1) / Lambda B                                (zero-order hold, eq. 6)
    x[t] = Lambda_ x[t-1] + B_ u[t],  y[t] = Re(C x[t]) + skip u[t]

The decays do not depend on the input, so the recurrence is a product with the Toeplitz matrix of powers of Lambda_
within chunks of T tokens, and another between the states at their ends (`Chunks`): no loop, B L P (T + L / T^2) complex
multiplications. `by_scan` is the paper's own route, the parallel scan.

Lambda starts at the spectrum of HiPPO-N, the normal part of HiPPO-LegS, all its P values; B at V^-1 times a normal
matrix (V: the eigenvectors), C as a complex normal, dt log-uniform in [1e-3, 1e-1].

Where we differ: the paper keeps one of each conjugate pair and takes 2 Re; as in the published code all P are kept and
trained freely, and y takes Re. The published code leaves Re(Lambda) free to cross zero; -|Re(Lambda)| is used here,
which is the same function and gradient as long as no mode grows, and never an unstable one. C is the output map.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.exponentials import phi
from ssmlab.nets.hippo import normal_part
from ssmlab.nets.longconv import toeplitz_columns
from ssmlab.nets.mixer import as_complex, as_pairs, full_precision
from ssmlab.nets.s4 import initial_log_dt
from ssmlab.nets.scan import scan


class System(NamedTuple):
    """The discretised system: rate = Lambda dt (P,) complex, into (2 P, D) and out (D, 2 P) real, skip (D,).

    `into` stacks Re and Im of B_, `out` stands Re C and -Im C side by side: both maps are real products.
    """

    rate: Tensor
    into: Tensor
    out: Tensor
    skip: Tensor


class Chunks(NamedTuple):
    """Powers of Lambda_ for L tokens in chunks of T, M of them.

    inside (P, T, T): from token to token of a chunk; across (P, M, M): from the end of one chunk to before another;
    after (P, T): from before a chunk to each of its tokens.
    """

    inside: Tensor
    across: Tensor
    after: Tensor


class S5(nn.Module):
    """The S5 system over channel-first sequences, (D, B, L) -> (D, B, L).

    Complex parameters are pairs: Lambda (P, 2), B (P, D, 2), C (D, P, 2).
    """

    def __init__(self, width: int, state: int):
        super().__init__()
        Lambda, basis = normal_part(state)
        B = basis.conj().T @ (torch.randn(state, width, dtype=torch.float64) / math.sqrt(width)).to(basis.dtype)
        self.Lambda = nn.Parameter(as_pairs(Lambda))
        self.B = nn.Parameter(as_pairs(B))
        self.C = nn.Parameter(torch.randn(width, state, 2) / math.sqrt(2))
        self.log_dt = nn.Parameter(initial_log_dt(state))
        self.skip = nn.Parameter(torch.randn(width))

    def ssm_parameters(self) -> list[nn.Parameter]:
        """dt, A and B."""
        return [self.log_dt, self.Lambda, self.B]

    def system(self) -> System:
        """The discretised system, float32 at least, whatever the autocast state."""
        with torch.autocast(self.skip.device.type, enabled=False):
            decay, frequency = full_precision(self.Lambda).unbind(-1)
            dt = full_precision(self.log_dt).exp()
            rate = torch.complex(-decay.abs(), frequency) * dt  # (P,)
            B = (dt * phi(rate))[:, None] * as_complex(self.B)  # (P, D)
            C = as_complex(self.C)
            return System(rate, torch.cat([B.real, B.imag]), torch.cat([C.real, -C.imag], 1), full_precision(self.skip))

    def forward(self, u: Tensor) -> Tensor:
        """The SSM's output for u (D, B, L)."""
        system = self.system()
        return apply(u, system, chunks(system.rate, u.shape[-1]))

    def freeze(self, length: int) -> nn.Module:
        """The same map with the discretised system and its powers precomputed."""
        with torch.no_grad():
            system = self.system()
            return FixedS5(system, chunks(system.rate, length))


class FixedS5(nn.Module):
    """The S5 system of fixed parameters for sequences of one length."""

    def __init__(self, system: System, powers: Chunks):
        super().__init__()
        self.system, self.powers = system, powers

    def forward(self, u: Tensor) -> Tensor:
        """The SSM's output for u (D, B, L)."""
        return apply(u, self.system, self.powers)


def chunk_tokens(length: int) -> int:
    """T for L tokens."""
    return length if length <= 64 else math.isqrt(length)


def chunks(rate: Tensor, length: int) -> Chunks:
    """The powers of exp(rate), rate (P,), for `length` tokens."""
    tokens = chunk_tokens(length)
    number = -(-length // tokens)
    with torch.autocast(rate.device.type, enabled=False):
        steps = torch.arange(tokens + 1, dtype=rate.real.dtype, device=rate.device)
        within = torch.exp(rate[:, None] * steps)  # (P, T + 1)
        between = torch.exp(rate[:, None] * (tokens * steps.new_tensor(range(number - 1))))  # (P, M - 1)
        return Chunks(
            toeplitz_columns(within[:, :tokens], tokens, tokens).contiguous(),
            toeplitz_columns(F.pad(between, (1, 0)), number, number).contiguous(),
            within[:, 1:],
        )


def apply(u: Tensor, system: System, powers: Chunks | None) -> Tensor:
    """y (D, B, L) for u (D, B, L): the maps in and out are real products, the states complex between them."""
    inputs = torch.mm(system.into, u.flatten(1)).view(2, -1, *u.shape[1:])  # (2, P, B, L)
    with torch.autocast(u.device.type, enabled=False):
        b = torch.complex(*full_precision(inputs))  # (P, B, L)
        states = by_scan(b, system.rate) if powers is None else by_chunks(b, powers)  # (P, B, L)
        stacked = torch.view_as_real(states).permute(3, 0, 1, 2).flatten(0, 1)  # (2 P, B, L)
    y = torch.mm(system.out, stacked.flatten(1)).view_as(u)
    return y + system.skip[:, None, None] * u


def by_scan(b: Tensor, rate: Tensor) -> Tensor:
    """x[t] = exp(rate) x[t-1] + b[t] for b (P, B, L), rate (P,), by the parallel scan."""
    decay = torch.exp(rate).expand(b.shape[-1], 1, -1)  # (L, 1, P)
    return scan(decay, b.permute(2, 1, 0)).permute(2, 1, 0)  # (P, B, L)


def by_chunks(b: Tensor, powers: Chunks) -> Tensor:
    """x[t] = exp(rate) x[t-1] + b[t] for b (P, B, L), by products with the powers of exp(rate)."""
    state, batch, length = b.shape
    tokens, number = powers.inside.shape[-1], powers.across.shape[-1]
    padded = F.pad(b, (0, tokens * number - length))
    local = torch.bmm(padded.view(state, batch * number, tokens), powers.inside)  # (P, B M, T)
    if number == 1:
        return local
    local = local.view(state, batch, number, tokens)
    before = torch.bmm(local[..., -1], powers.across)  # (P, B, M)
    whole = torch.addcmul(local, before.unsqueeze(-1), powers.after[:, None, None])  # (P, B, M, T)
    return whole.flatten(2)[..., :length]
