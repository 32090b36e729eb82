"""S4D: a diagonal state space (Gu et al. 2022, "On the Parameterization and Initialization of Diagonal State Space
Models").

N states per channel, as N/2 conjugate pairs, of which one is stored. dt (D,): step sizes. A (D, N/2): the diagonal,
separate for each channel. C (D, N/2): the output map (B is fixed to one, because C absorbs it, section 3.2).

    K[l] = 2 Re sum over n of C[n] B_[n] A_[n]^l                                           (the Vandermonde product)
    zero-order hold:  A_ = exp(dt A),                     B_ = (A_ - 1) / A
    bilinear:         A_ = (1 + dt A / 2) / (1 - dt A / 2),  B_ = dt / (1 - dt A / 2)      (section 3.1)
    S4D-Lin:  A[n] = -1/2 + i pi n,   S4D-Inv:  A[n] = -1/2 + i N / pi (N / (2 n + 1) - 1)  (eq. 9 and 8)

Re(A) = -exp(log_decay) is negative by construction (section 3.4), so |A_| < 1. A_^l is computed as exp(l log A_).

Where we differ: nothing. The published code of Qi et al. has no S4D; we include it as the usual diagonal model.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from ssmlab.nets.exponentials import DiagonalRealisation, diagonal_realisation, exponential_sums, phi
from ssmlab.nets.layer_parts import convolution_layer
from ssmlab.nets.mixer import Mixer, SsmKernel, as_complex, full_precision
from ssmlab.nets.s4 import initial_log_dt
from ssmlab.nets.shapes import Kernel, Modes
from ssmlab.params import ModelParams


def s4d_layer(params: ModelParams, length: int) -> Mixer:  # noqa: ARG001  # all builders have the same signature
    """An S4D layer."""
    assert params.s4d is not None
    discretisation, initial = params.s4d.discretisation, params.s4d.initial
    return convolution_layer(params, lambda: S4dKernel(params.d_model, params.d_state, discretisation, initial))


class S4dKernel(SsmKernel):
    """The kernel of an S4D layer with `width` channels and `state` states per channel."""

    def __init__(
        self, width: int, state: int, discretisation: Literal["zoh", "bilinear"], initial: Literal["lin", "inv"]
    ):
        super().__init__()
        self.discretisation = discretisation
        n = torch.arange(state // 2)
        frequency = math.pi * n if initial == "lin" else state / math.pi * (state / (2 * n + 1) - 1)
        self.state = state
        self.log_dt = nn.Parameter(initial_log_dt(width))
        self.log_decay = nn.Parameter(torch.full((width, state // 2), math.log(0.5)))
        self.frequency = nn.Parameter(frequency.float().repeat(width, 1))
        self.C = nn.Parameter(torch.randn(width, state // 2, 2) / math.sqrt(2))

    def ssm_parameters(self) -> list[nn.Parameter]:
        return [self.log_dt, self.log_decay, self.frequency]

    def forward(self, length: int) -> Kernel:
        """The taps for a sequence of `length` tokens, (D, length) float32 (float64 if the module is float64)."""
        weight, rate = self.modes()
        return exponential_sums([weight], rate, length)[0]

    def modes(self) -> tuple[Modes, Modes]:
        """2 C B_ and log A_, (D, N/2) each: weights and rates of the exponentials."""
        dt = full_precision(self.log_dt).exp()[:, None]  # (D, 1)
        rate = dt * torch.complex(-full_precision(self.log_decay).exp(), full_precision(self.frequency))  # (D, N/2)
        if self.discretisation == "zoh":
            held = dt * phi(rate)
        else:
            held = dt / (1 - rate / 2)
            rate = torch.log((1 + rate / 2) / (1 - rate / 2))
        return 2 * as_complex(self.C) * held, rate

    def realisation(self, length: int) -> DiagonalRealisation:  # noqa: ARG002
        """The state space with these taps, which is the same for every length."""
        return diagonal_realisation(*self.modes())
