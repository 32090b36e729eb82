"""AdS against its closed form, attention against a plain loop."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets.ads import AdaptiveScaling
from ssmlab.nets.attention import SelfAttention

ACTS = {
    "relu": lambda v: max(v, 0.0),
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)),
    "tanh": math.tanh,
    "none": lambda v: v,
}


def dot(weights: Tensor, values: Tensor) -> float:
    return sum(w * v for w, v in zip(weights.tolist(), values.tolist(), strict=True))


@pytest.mark.parametrize("parts", ["both", "scale", "bias", "sum"])
@pytest.mark.parametrize("act", list(ACTS))
def test_ads_computes_its_equation(act: str, parts: str) -> None:
    torch.manual_seed(0)
    ads = AdaptiveScaling(3, act, parts).double()
    y = torch.randn(3, 2, 4, dtype=torch.float64)
    out = ads(y)
    assert (ads.scale is None, ads.bias is None) == (parts == "bias", parts == "scale")
    for b in range(2):
        for t in range(4):
            for d in range(3):
                value = y[d, b, t].item()
                if ads.scale is not None:
                    factor = ACTS[act](dot(ads.scale.weight[d], y[:, b, t]) + ads.scale.bias[d].item())
                    value = value + factor if parts == "sum" else value * factor
                if ads.bias is not None:
                    value += ACTS[act](dot(ads.bias.weight[d], y[:, b, t]) + ads.bias.bias[d].item())
                assert out[d, b, t].item() == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("act", ["relu", "sigmoid", "tanh"])
def test_constant_scaling_is_adaptive_scaling_whose_matrices_are_zero(act: str) -> None:
    """With learned constants; and unlike AdS it is affine in y."""
    torch.manual_seed(0)
    constant, adaptive = AdaptiveScaling(3, act, "constant").double(), AdaptiveScaling(3, act, "both").double()
    with torch.no_grad():
        for map in ("scale", "bias"):
            getattr(constant, map).bias.add_(torch.randn(3, dtype=torch.float64))
            getattr(adaptive, map).weight.zero_()
            getattr(adaptive, map).bias.copy_(getattr(constant, map).bias)
    a, b = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(constant(a), adaptive(a))
    torch.testing.assert_close(constant((a + b) / 2), (constant(a) + constant(b)) / 2)
    constant(a).square().sum().backward()
    assert all(parameter.grad is not None for parameter in constant.parameters())


def test_new_constant_scaling_keeps_its_input_and_opens_every_gate() -> None:
    y = torch.randn(3, 2, 4)
    constant = AdaptiveScaling(3, "relu", "constant")
    torch.testing.assert_close(constant(y), y + 0.1)
    constant(y).square().sum().backward()
    assert all(parameter.grad.all() for parameter in constant.parameters())


def test_a_control_starts_with_the_parameters_of_adaptive_scaling() -> None:
    """So what tells them apart in a study is the formula alone, not the size or the draw of the initial weights."""
    states = []
    for act, parts in (("relu", "both"), ("relu", "sum"), ("none", "both")):
        torch.manual_seed(0)
        states.append(AdaptiveScaling(3, act, parts).state_dict())
    for control in states[1:]:
        torch.testing.assert_close(control, states[0], rtol=0, atol=0)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["relu", "tanh"]), st.sampled_from([2.0, 8.0]), st.integers(0, 2**16))
def test_only_a_product_grows_with_the_square_of_its_input(act: str, size: float, seed: int) -> None:
    """Both controls are nonlinear: the sum grows at most linearly, the product without an activation quadratically."""
    torch.manual_seed(seed)
    added, product = AdaptiveScaling(3, act, "sum").double(), AdaptiveScaling(3, "none", "both").double()
    y = torch.randn(3, 2, 4, dtype=torch.float64)
    zero = torch.zeros_like(y)
    largest = 1 + sum(torch.linalg.matrix_norm(map.weight, 2) for map in (added.scale, added.bias))
    assert (added(size * y) - added(zero)).norm() <= largest * size * y.norm() * (1 + 1e-9)
    even = product(size * y) - 2 * product(zero) + product(-size * y)  # the even part, twice the quadratic term
    torch.testing.assert_close(even, size**2 * (product(y) - 2 * product(zero) + product(-y)))
    assert even.norm() > 0


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(1, 7), st.integers(0, 2**16))
def test_attention_computes_its_equation(width: int, batch: int, length: int, seed: int) -> None:
    torch.manual_seed(seed)
    attention = SelfAttention(width).double()
    y = torch.randn(width, batch, length, dtype=torch.float64)
    expected = y.clone()
    W, bias = attention.maps.weight, attention.maps.bias
    for b in range(batch):
        tokens = [W @ y[:, b, t] + bias for t in range(length)]
        for t in range(length):
            scores = [(tokens[t][:width] @ other[width : 2 * width]).item() / math.sqrt(width) for other in tokens]
            weights = [math.exp(score) for score in scores]
            for weight, other in zip(weights, tokens, strict=True):
                expected[:, b, t] += weight / sum(weights) * other[2 * width :]
    torch.testing.assert_close(attention(y), expected)


@pytest.mark.parametrize("enhancement", [AdaptiveScaling(3, "tanh", "both"), SelfAttention(3)])
def test_any_memory_layout_gives_the_same(enhancement: torch.nn.Module) -> None:
    token_first = torch.randn(2, 5, 3)
    channel_first = token_first.permute(2, 0, 1)
    torch.testing.assert_close(enhancement(channel_first), enhancement(channel_first.contiguous()))


@pytest.mark.parametrize("enhancement", [AdaptiveScaling(2, "sigmoid", "both"), SelfAttention(2)])
def test_the_gradients_of_an_enhancement_agree_with_finite_differences(enhancement: torch.nn.Module) -> None:
    y = torch.randn(2, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(enhancement.double(), (y,))
