"""Mega: moving average equipped gated attention (Ma et al. 2023, section 3, equations 7 to 16).

x (B, L, D): input. z: width of the shared representation. v (`hidden`): width of the values. u, r: the gates.

    m = silu(EMA(x) + omega x)                          the moving average, both directions (ema.py)
    Z = silu(W_z m + b_z),  Q = kappa_q Z + mu_q,  K = kappa_k Z + mu_k
    V = silu(W_v x + b_v),  O = softmax(Q K^T / sqrt(z) + b_rel) V
    r = silu(W_r m + b_r),  u = sigmoid(W_u m + b_u),  h = silu(W_h m + U_h (r * O) + b_h)
    y = LayerNorm(u * h + (1 - u) * x),  out = LayerNorm(y + W_2 silu(W_1 y + b_1) + b_2)

b_rel[i, j] = b[j - i], a table of 2 L - 1 entries, so a layer is built for one length L and rejects longer sequences.
An enhancement, if there is one, is applied to m, which is the output of Mega's own SSM.

Where we differ: softmax, a single chunk and post-norm, as in the published code; for images the paper prefers its
Laplace function to the softmax. The scaling Q K^T / sqrt(z) is that of the published code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.nets.ema import DampedEma
from ssmlab.nets.layer_parts import check_no_maps, enhancement
from ssmlab.nets.longconv import channel_first, toeplitz_columns
from ssmlab.nets.mixer import Mixer
from ssmlab.nets.shapes import BatchFirst, BiasMatrix
from ssmlab.nets.softmax_attention import attend
from ssmlab.params import MegaParams, ModelParams


def mega_layer(params: ModelParams, length: int) -> Mixer:
    """A Mega layer, which has its own residual connections and norms."""
    check_no_maps(params)
    assert params.mega is not None
    return MegaLayer(params.d_model, params.mega, length, enhancement(params, params.d_model), params.dropout)


class RelativeBias(nn.Module):
    """The simple relative position bias: one parameter for each distance j - i, (2 L - 1,) for at most L tokens."""

    def __init__(self, length: int):
        super().__init__()
        self.table = nn.Parameter(torch.randn(2 * length - 1) * 0.02)

    def forward(self, length: int) -> BiasMatrix:
        """The matrix (length, length) of b[j - i].

        Raises:
            ValueError: `length` is larger than L.
        """
        most = (len(self.table) + 1) // 2
        if length > most:
            raise ValueError(f"this Mega layer was made for at most {most} tokens, not {length}")
        lags = self.table[None, most - length : most + length - 1]  # (1, 2 length - 1)
        return toeplitz_columns(lags, length, length)[0]

    def freeze(self, length: int) -> nn.Module:
        """The same bias with a precomputed matrix."""
        with torch.no_grad():
            return FixedBias(self(length).contiguous())


class FixedBias(nn.Module):
    """A precomputed position bias (L, L), for sequences of exactly L tokens."""

    full_precision_tensors = frozenset({"matrix"})
    matrix: Tensor

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, length: int) -> BiasMatrix:
        """The matrix (L, L).

        Raises:
            ValueError: `length` is not L.
        """
        if length != len(self.matrix):
            raise ValueError(f"this Mega layer was frozen for {len(self.matrix)} tokens, not {length}")
        return self.matrix


class GatedAttention(nn.Module):
    """The first sublayer: EMA, single-head attention, gates and post-norm, (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, sizes: MegaParams, length: int, enhancement: nn.Module, dropout: float):
        super().__init__()
        self.ema = DampedEma(width, sizes.ema)
        self.enhancement = enhancement
        self.update = small_linear(width, width)
        self.shared = small_linear(width, sizes.z)
        self.reset = small_linear(width, sizes.hidden)
        self.candidate = small_linear(width, width)
        self.value = small_linear(width, sizes.hidden)
        self.back = small_linear(sizes.hidden, width)
        self.kappa = nn.Parameter(torch.randn(2, sizes.z) * 0.02)
        self.mu = nn.Parameter(torch.zeros(2, sizes.z))
        self.bias = RelativeBias(length)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: BatchFirst) -> BatchFirst:
        """The sublayer's output for x (B, L, D)."""
        batch, length, _ = x.shape
        m = self.enhancement(F.silu(self.ema(channel_first(x)))).flatten(1).t()  # (B L, D)
        shared = F.silu(self.shared(m)).view(batch, length, -1)  # (B, L, z)
        query, key = (torch.addcmul(mu, shared, kappa) for mu, kappa in zip(self.mu, self.kappa, strict=True))
        attended = attend(query, key, F.silu(self.value(x)), self.bias(length))  # (B, L, v)
        gated = attended.flatten(0, 1) * F.silu(self.reset(m))  # (B L, v)
        h = self.dropout(F.silu(self.candidate(m) + self.back(gated)))  # (B L, D)
        mixed = torch.lerp(x.flatten(0, 1), h, self.update(m).sigmoid())  # (B L, D)
        return self.norm(mixed).view_as(x)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """The second sublayer: a feed-forward network with post-norm, (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.into = small_linear(width, hidden)
        self.back = small_linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: BatchFirst) -> BatchFirst:
        """The sublayer's output for x (B, L, D)."""
        return self.norm(x + self.dropout(self.back(F.silu(self.into(x)))))  # type: ignore[no-any-return]


class MegaLayer(Mixer):
    """A complete Mega layer with its own residuals and norms, (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, sizes: MegaParams, length: int, enhancement: nn.Module, dropout: float):
        super().__init__()
        self.attention = GatedAttention(width, sizes, length, enhancement, dropout)
        self.feed_forward = FeedForward(width, sizes.ffn, dropout)

    def ssm_parameters(self) -> list[nn.Parameter]:
        """The parameters of the EMA's recurrence."""
        return self.attention.ema.ssm_parameters()

    def forward(self, x: BatchFirst) -> BatchFirst:
        """The layer's output for x (B, L, D)."""
        return self.feed_forward(self.attention(x))  # type: ignore[no-any-return]


def small_linear(into: int, out: int) -> nn.Linear:
    """A linear map with Mega's initialisation: normal weights with standard deviation 0.02, and zero bias."""
    linear = nn.Linear(into, out)
    nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear
