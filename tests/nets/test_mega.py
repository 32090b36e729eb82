"""The damped EMA against its recurrence in both directions, and the layer against a plain loop over tokens."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ssmlab.nets.ema import DampedEma
from ssmlab.nets.longconv import by_fft, by_toeplitz
from ssmlab.nets.mega import GatedAttention, MegaLayer, RelativeBias
from ssmlab.params import MegaParams

SIZES = MegaParams(z=5, hidden=6, ffn=7, ema=3)


def by_recurrence(ema: DampedEma, u: Tensor) -> Tensor:
    """y (D, B, L): one pass over the past, one over the future, and omega u."""
    alpha, delta = ema.alpha.sigmoid(), ema.delta.sigmoid()
    y = ema.omega[:, None, None] * u
    for direction, tokens in enumerate((range(u.shape[-1]), reversed(range(u.shape[-1])))):
        state = torch.zeros(*u.shape[:2], alpha.shape[-1], dtype=u.dtype)  # (D, B, h)
        a, d, beta, gamma = (p[direction][:, None] for p in (alpha, delta, ema.beta, ema.gamma))
        sums = {}
        for t in tokens:
            state = (1 - a * d) * state + d * beta * u[:, :, t, None]
            sums[t] = (gamma * state).sum(-1) / math.sqrt(alpha.shape[-1])
        y = y + torch.stack([sums[t] for t in range(u.shape[-1])], dim=-1)
    return y


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 17), st.integers(0, 2**16))
def test_recurrence_convolution_and_product_agree(width: int, dimensions: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    ema = DampedEma(width, dimensions).double()
    u = torch.randn(width, 2, length, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(width, 2, length, dtype=torch.float64)
    inputs = [u, *ema.parameters()]
    expected = by_recurrence(ema, u)
    gradients = torch.autograd.grad((expected * weight).sum(), inputs)
    for route in (by_toeplitz, by_fft):
        y = route(u, ema.taps(length))
        torch.testing.assert_close(y, expected)
        for mine, plain in zip(torch.autograd.grad((y * weight).sum(), inputs), gradients, strict=True):
            torch.testing.assert_close(mine, plain)


def test_relative_bias_is_a_function_of_the_distance() -> None:
    bias = RelativeBias(5)
    matrix = bias(3)
    for i in range(3):
        for j in range(3):
            assert matrix[i, j] == bias.table[4 + j - i]
    assert torch.equal(bias.freeze(3)(3), matrix)
    with pytest.raises(ValueError, match="at most 5 tokens, not 6"):
        bias(6)


def silu(linear: nn.Linear, x: Tensor) -> Tensor:
    return F.silu(linear.weight @ x + linear.bias)


def test_the_layer_computes_its_equations() -> None:
    torch.manual_seed(3)
    layer = MegaLayer(4, SIZES, 6, nn.Identity(), 0.0).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    attention, ffn = layer.attention, layer.feed_forward
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for b in range(2):
        m = F.silu(by_recurrence(attention.ema, x[b].T[:, None]))[:, 0].T  # (L, D)
        shared = [silu(attention.shared, m[t]) for t in range(6)]
        query = [attention.kappa[0] * s + attention.mu[0] for s in shared]
        key = [attention.kappa[1] * s + attention.mu[1] for s in shared]
        for t in range(6):
            scores = [query[t] @ key[s] / math.sqrt(5) + attention.bias.table[5 + s - t] for s in range(6)]
            weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
            attended = sum(w * silu(attention.value, x[b, s]) for s, w in enumerate(weights))
            gated = silu(attention.reset, m[t]) * attended
            h = F.silu(attention.candidate(m[t]) + attention.back(gated))
            u = torch.sigmoid(attention.update(m[t]))
            y = attention.norm(u * h + (1 - u) * x[b, t])
            expected[b, t] = ffn.norm(y + ffn.back(silu(ffn.into, y)))
    torch.testing.assert_close(layer(x), expected)


def test_every_token_sees_every_other() -> None:
    torch.manual_seed(4)
    layer = GatedAttention(3, SIZES, 5, nn.Identity(), 0.0).double()
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(layer, x)[0, :, :, 0].abs().sum((1, 3))
    assert (jacobian > 0).all()


def test_averages_of_long_sequences_are_finite_and_decay() -> None:
    torch.manual_seed(5)
    taps = DampedEma(4, 8).taps(4096)
    assert taps.shape == (4, 8191)
    assert taps.isfinite().all()
    assert taps[:, [0, -1]].abs().max() < 1e-6


def test_averages_that_forget_everything_at_once_are_finite() -> None:
    """alpha and delta of 18 are 1 after the sigmoid in float32; log1p(-1) times a lag of 0 was NaN."""
    torch.manual_seed(7)
    ema = DampedEma(3, 4)
    with torch.no_grad():
        ema.alpha.fill_(18.0)
        ema.delta.fill_(18.0)
    assert (ema.alpha.sigmoid() * ema.delta.sigmoid() == 1).all()
    u = torch.randn(3, 2, 5)
    torch.testing.assert_close(ema(u), by_recurrence(ema, u), rtol=1e-5, atol=1e-5)
    ema(u).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in ema.parameters())


def test_the_gradients_of_a_mega_layer_agree_with_finite_differences() -> None:
    torch.manual_seed(6)
    layer = MegaLayer(2, MegaParams(z=2, hidden=2, ffn=2, ema=2), 3, nn.Identity(), 0.0).double()
    x = torch.randn(1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
