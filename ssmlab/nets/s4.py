"""S4: a structured state space with HiPPO-LegS in normal plus low-rank form (Gu et al. 2022, "Efficiently Modeling Long
Sequences with Structured State Spaces").

N states per channel, as N/2 conjugate pairs, of which one is stored. dt (D,): step sizes. Lambda (N/2,): diagonal.
P (N/2,): low-rank part. B (N/2,), C (D, N/2): input and output maps. L: the length for which C is stored.

    x' = A x + B u,  y = C x,  A = diag(Lambda) - P P^*                                    (S4, eq. 1 and theorem 1)
    A_ = (I - dt/2 A)^-1 (I + dt/2 A),  B_ = (I - dt/2 A)^-1 dt B                          (bilinear, eq. 3)
    K[l] = C A_^l B_,  K^(z) = C~ (I - A_ z)^-1 B_  at the L-th roots of unity z = exp(-i theta), C~ = C (I - A_^L)
                                                                                          (eq. 5, appendix C.3)
Half angles avoid cancellation and division by zero for every theta:

    (I - A_ z)^-1 B_ = dt e^{i theta/2} (2 i sin(theta/2) - cos(theta/2) dt A)^-1 B

and the inverse is a Cauchy sum over Lambda corrected by Woodbury's identity for P P^* (algorithm 1). K = irfft(K^).

All channels of a layer share Lambda, P and B; each channel has its own dt and C. The stored C is C~, so the kernel
needs no matrix power. C~ is valid for lengths up to L only: the layer raises an error for longer sequences. A shorter
sequence uses the beginning of the kernel, which is exact.

Where we differ from the paper: Re(Lambda) = -exp(log_decay) is negative by construction and not trained, as in the
published code (its parameter counts show it). Otherwise nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssmlab.nets.cauchy import cauchy
from ssmlab.nets.chunked import Realisation, matrix_power, squares_up_to
from ssmlab.nets.hippo import nplr
from ssmlab.nets.layer_parts import convolution_layer
from ssmlab.nets.mixer import Mixer, SsmKernel, as_complex, as_pairs, full_precision
from ssmlab.nets.shapes import Kernel, Modes, NewPerChannel, PerChannel, SharedModes
from ssmlab.params import ModelParams


def s4_layer(params: ModelParams, length: int) -> Mixer:
    """An S4 layer for `length` tokens."""
    return convolution_layer(params, lambda: S4Kernel(params.d_model, params.d_state, power_of_two(length)))


class S4Kernel(SsmKernel):
    """The kernel of an S4 layer with `width` channels and `state` states per channel, for at most `length` tokens."""

    log_decay: Tensor

    def __init__(self, width: int, state: int, length: int):
        super().__init__()
        Lambda, P, B = nplr(state)
        self.length = length
        self.state = state
        self.log_dt = nn.Parameter(initial_log_dt(width))
        self.register_buffer("log_decay", torch.log(-Lambda.real).float())
        self.frequency = nn.Parameter(Lambda.imag.float())
        self.P = nn.Parameter(as_pairs(P))
        self.B = nn.Parameter(as_pairs(B))
        C = torch.complex(*(torch.randn(2, width, state // 2, dtype=torch.float64) / math.sqrt(2)))
        self.C = nn.Parameter(as_pairs(length_corrected(C, Lambda, P, self.log_dt.detach().double().exp(), length)))

    def ssm_parameters(self) -> list[nn.Parameter]:
        return [self.log_dt, self.frequency, self.P, self.B]

    def forward(self, length: int) -> Kernel:
        """The first `length` taps, (D, length) float32 (float64 if the module is float64).

        Raises:
            ValueError: `length` is larger than L.
        """
        if length > self.length:
            raise ValueError(f"this S4 layer was made for at most {self.length} tokens, not {length}")
        dt = full_precision(self.log_dt).exp()[:, None]  # (D, 1)
        half = torch.arange(self.length // 2 + 1, dtype=dt.dtype, device=dt.device) * (math.pi / self.length)  # (F,)
        decay, frequency = -full_precision(self.log_decay).exp(), full_precision(self.frequency)
        B, C, P = as_complex(self.B), as_complex(self.C), as_complex(self.P)
        low_rank = torch.stack([P.conj() * B, P.conj() * P]).expand(len(C), -1, -1)  # (D, 2, N/2)
        left = torch.cat([torch.stack([C * B, C * P], dim=1), low_rank], dim=1)  # (D, 4, N/2)
        cb, cp, pb, pp = cauchy(left, dt * decay, dt * frequency, half).unbind(1)  # (D, F) each
        shift = torch.polar(dt.expand(-1, len(half)), half.expand(len(dt), -1))  # dt e^{i theta/2}, (D, F)
        spectrum = shift * (cb - dt * half.cos() * cp * pb / (1 + dt * half.cos() * pp))  # (D, F)
        kernel: Tensor = torch.fft.irfft(spectrum, n=self.length)
        return kernel[:, :length]  # (D, length)

    def realisation(self, length: int) -> Realisation:  # noqa: ARG002
        """The discretised system in real numbers, which is the same for every length.

        The state of a channel is (Re x, Im x), where x is the stored half of its N states. The other half is conj(x),
        so P^* x over both halves is 2 (Re P . Re x + Im P . Im x), and C x is 2 (Re C . Re x - Im C . Im x).
        """
        P, B, C = (as_complex(p).to(torch.complex128) for p in (self.P, self.B, self.C))
        decay, frequency, dt = -self.log_decay.double().exp(), self.frequency.double(), self.log_dt.double().exp()
        diagonal, turn = torch.diag(decay), torch.diag(frequency)
        low_rank, into = (torch.cat([v.real, v.imag]) for v in (P, B))  # (N,) each
        A = torch.cat([torch.cat([diagonal, -turn], dim=1), torch.cat([turn, diagonal], dim=1)])
        step = dt[:, None, None] / 2 * (A - 2 * torch.outer(low_rank, low_rank))  # (D, N, N)
        eye = torch.eye(len(A), dtype=A.dtype, device=A.device)
        inputs = (dt[:, None] * into)[..., None]  # (D, N, 1)
        both = torch.linalg.solve(eye - step, torch.cat([eye + step, inputs], dim=2))  # (D, N, N + 1)
        discrete, held = both[..., :-1], both[..., -1]
        squares = squares_up_to(discrete, self.length)
        corrected = eye - matrix_power(squares, self.length)  # C~ = C corrected
        stored = 2 * torch.cat([C.real, -C.imag], dim=1)  # (D, N)
        out = torch.linalg.solve(corrected.transpose(1, 2), stored[..., None])[..., 0]
        return Realisation(A=discrete, B=held, C=out, squares=tuple(squares))


def both_halves(stored: Tensor) -> Tensor:
    """All N numbers (..., N) from the stored halves of conjugate pairs (..., N/2)."""
    return torch.cat([stored, stored.conj()], dim=-1)


def initial_log_dt(width: int, lowest: float = 1e-3, highest: float = 1e-1) -> NewPerChannel:
    """Initial log dt (D,), uniform between the logarithms of the two bounds (S4, appendix D)."""
    return torch.empty(width).uniform_(math.log(lowest), math.log(highest))


def length_corrected(C: Modes, Lambda: SharedModes, P: SharedModes, dt: PerChannel, length: int) -> Modes:
    """C~ = C (I - A_^L) for an output map C, both stored as halves (D, N/2), complex128."""
    diagonal, low_rank = both_halves(Lambda), both_halves(P)
    A = torch.diag(diagonal) - torch.outer(low_rank, low_rank.conj())  # (N, N)
    step, eye = dt[:, None, None] / 2 * A, torch.eye(len(A), dtype=A.dtype)
    discrete = torch.linalg.solve(eye - step, eye + step)  # (D, N, N)
    row = both_halves(C).unsqueeze(1)  # (D, 1, N)
    corrected: Tensor = row - row @ torch.linalg.matrix_power(discrete, length)
    return corrected[:, 0, : C.shape[-1]]  # (D, N/2)


def power_of_two(length: int) -> int:
    """The length for which S4 stores C, as in the published code, which doubles its buffer `L` until it is enough."""
    return 1 << (length - 1).bit_length()
