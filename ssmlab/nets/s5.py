"""S5: one state space for all input and output channels (Smith et al. 2023, "Simplified State Space Layers for Sequence
Modeling").

u (D, B, L): input. P = `d_state` complex states. Lambda (P,): the diagonal of A. B (P, D), C (D, P): complex input and
output maps over all channels (MIMO). dt (P,): a step size for each state. skip (D,): the skip term, D in the paper.

    x' = Lambda x + B u,  y = Re(C x) + skip u                                              (eq. 1, diagonalised)
    Lambda_ = exp(Lambda dt),  B_ = (Lambda_ - 1) / Lambda B                                (zero-order hold, eq. 6)
    x[t] = Lambda_ x[t-1] + B_ u[t],  y[t] = Re(C x[t]) + skip u[t]

The states are computed by a parallel scan in token-first order, (L, B, P), between two real products with B_ and C.
Complex numbers are stored as pairs, so the change from real to complex and back needs no copy. S5 is time-invariant and
therefore also a convolution, but on a CPU, Toeplitz products over chunks of 16 tokens were not faster than the scan.
With fixed parameters, an attack on a CPU takes the route of s5_fixed.py.

Lambda starts at all P values of the spectrum of HiPPO-N, the normal part of HiPPO-LegS. B starts at V^-1 times a normal
matrix (V: the eigenvectors), C as a complex normal, dt log-uniform in [1e-3, 1e-1].

Where we differ: the paper keeps one of each conjugate pair and takes 2 Re. We keep and train all P values and take Re,
as in the published code. The published code lets Re(Lambda) cross zero. We use -|Re(Lambda)|, which gives the same
function and gradient as long as no mode grows, and is always stable.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.exponentials import phi
from ssmlab.nets.hippo import normal_part
from ssmlab.nets.layer_parts import enhancement, ssm_layer
from ssmlab.nets.mixer import Mixer, Ssm, as_complex, as_pairs, full_precision
from ssmlab.nets.s4 import initial_log_dt
from ssmlab.nets.s5_fixed import by_sequences
from ssmlab.nets.scan import scan
from ssmlab.nets.shapes import ChannelFirst
from ssmlab.params import ModelParams


def s5_layer(params: ModelParams, length: int) -> Mixer:  # noqa: ARG001  # all builders have the same signature
    """An S5 layer. Its C already maps over all channels, so `output: linear` adds no further map."""
    ssm = S5(params.d_model, params.d_state)
    return ssm_layer(params, ssm, enhancement(params, params.d_model), "glu" if params.output == "glu" else "none")


class System(NamedTuple):
    """The discretised system: decay = Lambda_ (P,) complex, skip (D,), and the maps as real matrices.

    into (2 P, D): rows alternate between Re B_ and Im B_. out (D, 2 P): columns alternate between Re C and -Im C.
    """

    decay: Tensor
    into: Tensor
    out: Tensor
    skip: Tensor


class S5(Ssm):
    """The S5 system on channel-first sequences, (D, B, L) -> (D, B, L).

    Complex parameters are stored as real pairs: Lambda (P, 2), B (P, D, 2), C (D, P, 2).
    """

    any_order = True  # it copies its input to token-first order itself, which is cheapest from batch-first order

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
        """The discretised system, float32 or float64, also under autocast."""
        with torch.autocast(self.skip.device.type, enabled=False):
            decay, frequency = full_precision(self.Lambda).unbind(-1)
            dt = full_precision(self.log_dt).exp()
            rate = torch.complex(-decay.abs(), frequency) * dt  # (P,)
            B = (dt * phi(rate))[:, None] * as_complex(self.B)  # (P, D)
            into = torch.view_as_real(B.t()).flatten(1).t()  # (2 P, D)
            out = torch.view_as_real(as_complex(self.C).conj().resolve_conj()).flatten(1)  # (D, 2 P)
            return System(torch.exp(rate), into, out, full_precision(self.skip))

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """The SSM's output for u (D, B, L)."""
        return apply(u, self.system())

    def freeze(self, length: int) -> nn.Module:  # noqa: ARG002
        """The same map with a precomputed discretised system."""
        with torch.no_grad():
            return FixedS5(self.system())


class FixedS5(nn.Module):
    """The S5 system with fixed parameters."""

    def __init__(self, system: System):
        super().__init__()
        for name, value in system._asdict().items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, u: ChannelFirst) -> ChannelFirst:
        """The SSM's output for u (D, B, L)."""
        system = System(*self.buffers())
        if u.device.type != "cpu" or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return apply(u, system)
        return by_sequences(u.permute(1, 2, 0), *system).permute(2, 0, 1)  # (D, B, L)


def apply(u: ChannelFirst, system: System) -> ChannelFirst:
    """y (D, B, L) for u (D, B, L). Under autocast the products may be in half precision, but never the states."""
    tokens = u.permute(2, 1, 0).contiguous()  # (L, B, D)
    inputs = F.linear(tokens, system.into)  # (L, B, 2 P)
    with torch.autocast(u.device.type, enabled=False):
        b = torch.view_as_complex(full_precision(inputs).view(*tokens.shape[:2], -1, 2))  # (L, B, P)
        states = torch.view_as_real(scan(system.decay.expand(len(b), 1, -1), b)).flatten(2)  # (L, B, 2 P)
        states = states.to(system.out.dtype)
    y = torch.addcmul(F.linear(states, system.out), tokens, system.skip)  # (L, B, D)
    return y.permute(2, 1, 0)  # (D, B, L)
