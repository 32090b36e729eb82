"""DSS: a diagonal state space with softmax-normalised rows (Gupta et al. 2022, "Diagonal State Spaces are as Effective
as Structured State Spaces", DSS-softmax).

N/2 complex states per channel. dt (D,): step sizes. Lambda (N/2,): the diagonal, shared by all channels. W (D, N/2):
the output map (B is fixed to one, because W absorbs it).

    K[d, l] = Re sum over n of W[d, n] / Lambda[n] * softmax over l' < L of (Lambda[n] dt[d] l')  at l     (eq. 6)

This is a row-wise softmax over complex numbers. With r = Lambda[n] dt[d] it is a geometric series with the closed form
e^{r l} (e^r - 1) / (e^{r L} - 1). If Re(r) > 0, it is summed from the last token backwards (r -> -r, l -> L-1-l) to
avoid overflow.

The division is by x = (e^{r L} - 1) Lambda. It is computed as conj(x) / (|x|^2 + 1e-7), which stays finite for x = 0.
The row's sum, (e^{r L} - 1) / (e^r - 1), is never computed; a guard there would have another effect. The guard changes
K if |x|^2 is not much larger than 1e-7, that is, if L dt is small: by up to 6% if L dt is near 1e-3. In a new model
with D = 32 it changes logits by 2e-4 to 7e-4 at L = 15, by 3e-5 at L = 49 and by 3e-7 at L = 784. The same guard on the
row's sum would change them by 1e-6 at most.

Where we differ: nothing in the kernel; the published numbers can only be reproduced with the guard on x. `d_state` = N
counts real states as in S4, which are N/2 complex ones. No conjugates are added (the kernel is Re, not 2 Re). Lambda
starts at the spectrum of the normal part of HiPPO-LegS, as in S4, and W (stored as C) starts as a complex normal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssmlab.nets.exponentials import DiagonalRealisation, diagonal_realisation, exponential_sums
from ssmlab.nets.hippo import nplr
from ssmlab.nets.layer_parts import convolution_layer
from ssmlab.nets.mixer import Mixer, SsmKernel, as_complex, as_pairs, full_precision
from ssmlab.nets.s4 import initial_log_dt
from ssmlab.nets.shapes import Kernel, Modes
from ssmlab.params import ModelParams

EPSILON = 1e-7  # keeps the reciprocal of (e^{r L} - 1) Lambda finite where it vanishes (DSS, appendix A.2)


def dss_layer(params: ModelParams, length: int) -> Mixer:  # noqa: ARG001  # all builders have the same signature
    """A DSS layer."""
    return convolution_layer(params, lambda: DssKernel(params.d_model, params.d_state))


class DssKernel(SsmKernel):
    """The kernel of a DSS layer with `width` channels and `state` / 2 complex states per channel."""

    def __init__(self, width: int, state: int):
        super().__init__()
        Lambda, _, _ = nplr(state)
        self.state = state
        self.log_dt = nn.Parameter(initial_log_dt(width))
        self.Lambda = nn.Parameter(as_pairs(Lambda))
        self.C = nn.Parameter(torch.randn(width, state // 2, 2) / math.sqrt(2))

    def ssm_parameters(self) -> list[nn.Parameter]:
        return [self.log_dt, self.Lambda]

    def forward(self, length: int) -> Kernel:
        """The taps for a sequence of `length` tokens, (D, length) float32 (float64 if the module is float64).

        The softmax runs over `length` tokens, so kernels of different lengths differ in scale.
        """
        weight, rate, growing = self.modes(length)
        apart = torch.where(growing, 0, weight), torch.where(growing, weight, 0)
        forwards, backwards = exponential_sums(apart, rate, length)
        return forwards + backwards.flip(-1)

    def modes(self, length: int) -> tuple[Modes, Modes, Tensor]:
        """Weights and rates (D, N/2) of the exponentials, and which of them are summed from the last token (bool)."""
        dt = full_precision(self.log_dt).exp()  # (D,)
        Lambda = as_complex(self.Lambda)  # (N/2,)
        rate = dt[:, None] * Lambda  # (D, N/2)
        growing = rate.real > 0
        rate = torch.where(growing, -rate, rate)
        inverted = torch.expm1(rate * length) * Lambda  # (D, N/2)
        weight = as_complex(self.C) * torch.expm1(rate) * inverted.conj() / (inverted.abs().square() + EPSILON)
        return weight, rate, growing

    def realisation(self, length: int) -> DiagonalRealisation | None:
        """The state space with these taps; None if a mode grows, because its powers could overflow."""
        weight, rate, growing = self.modes(length)
        return None if any_growing(growing) else diagonal_realisation(weight, rate)


def any_growing(growing: Tensor) -> bool:
    """Whether any mode grows. This reads values from the device, so a GPU must finish its work first."""
    return bool(growing.any())
