"""The routes of softmax attention against the formula in float64 and against each other."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets import softmax_attention
from ssmlab.nets.attention import SelfAttention
from ssmlab.nets.softmax_attention import at_once, attend, in_blocks


def inputs(batch: int, length: int, z: int, v: int, seed: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((batch, length, z), (batch, length, z), (batch, length, v), (length, length))
    return [torch.randn(shape, generator=draw, dtype=torch.float64, requires_grad=True) for shape in shapes]


def by_definition(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    scores = torch.einsum("bik,bjk->bij", query, key) / math.sqrt(query.shape[-1]) + bias
    return torch.einsum("bij,bjv->biv", scores.exp() / scores.exp().sum(-1, keepdim=True), value)


@settings(deadline=None, max_examples=25)
@given(*[st.integers(1, 3), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4)], st.sampled_from([1, 20, 2**18]))
def test_every_route_equals_the_definition_with_its_gradients(
    batch: int, length: int, z: int, v: int, entries: int
) -> None:
    given_ = inputs(batch, length, z, v, 0)
    weight = torch.randn(batch, length, v, dtype=torch.float64)
    expected = by_definition(*given_)
    gradients = torch.autograd.grad((expected * weight).sum(), given_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(softmax_attention, "BLOCK_ENTRIES", entries)
        for route in (at_once, in_blocks):
            o = route(*given_)
            torch.testing.assert_close(o, expected)
            torch.testing.assert_close(torch.autograd.grad((o * weight).sum(), given_), gradients)


def test_without_a_bias_it_is_torchs_attention_by_every_route(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value, _ = inputs(2, 7, 3, 5, 1)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend(query, key, value), expected)
    monkeypatch.setattr(softmax_attention, "AT_ONCE", 0)
    monkeypatch.setattr(softmax_attention, "at_once", None)  # the other route is not taken
    torch.testing.assert_close(attend(query, key, value), expected)


def test_gradients_of_gradients_pass_through_the_blocks() -> None:
    query, key, value, bias = inputs(1, 3, 2, 2, 2)
    assert torch.autograd.gradgradcheck(in_blocks, (query, key, value, bias))
    assert torch.autograd.gradgradcheck(lambda q: in_blocks(q, key.detach(), value.detach()), (query,))


def test_large_scores_do_not_overflow() -> None:
    query, key, value, bias = (tensor.detach().float() for tensor in inputs(1, 6, 2, 2, 3))
    assert in_blocks(1e3 * query, 1e3 * key, value, bias).isfinite().all()


def test_blocks_in_bfloat16_stay_close_and_keep_a_float32_bias() -> None:
    query, key, value, bias = (tensor.detach().float() for tensor in inputs(2, 9, 8, 8, 4))
    expected = in_blocks(query, key, value, bias)
    query.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o = in_blocks(query, key, value, bias)
    assert o.dtype == torch.bfloat16
    torch.testing.assert_close(o.float(), expected, rtol=0.05, atol=0.05)
    (gradient,) = torch.autograd.grad(o.float().sum(), query)
    assert gradient.dtype == torch.float32


def test_the_enhancement_is_the_same_by_either_route(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    attention, y = SelfAttention(4), torch.randn(4, 2, 6)
    expected = attention(y)
    monkeypatch.setattr(softmax_attention, "AT_ONCE", 0)
    torch.testing.assert_close(attention(y), expected)


def test_no_matrix_of_all_weights_is_kept_for_the_gradient() -> None:
    """Otherwise Mega at 4,096 tokens would need 64 MiB a sequence and layer."""
    query, key, value, bias = (tensor.detach().float().requires_grad_() for tensor in inputs(2, 64, 2, 2, 6))
    kept: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        in_blocks(query, key, value, bias)
    assert max(kept) == bias.numel()
