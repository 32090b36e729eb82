"""Adaptive scaling of large arrays against its plain form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssmlab.nets import ads_large
from ssmlab.nets.ads import AdaptiveScaling
from ssmlab.nets.ads_large import FROM_VALUE, scaled_at_once


def both_routes(ads: AdaptiveScaling, y: Tensor, upstream: Tensor) -> list[tuple[Tensor, ...]]:
    """The outputs, then the gradients of y and of all parameters: by the route for large arrays, then plainly."""
    results = []
    for large in (1, 2**30):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ads_large, "LARGE", large)
            out = ads(y)
        results.append((out, *torch.autograd.grad(out, [y, *ads.parameters()], upstream)))
    return results


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(list(FROM_VALUE)), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 2**16)
)
def test_large_arrays_have_the_outputs_and_gradients_of_small_ones(
    act: str, width: int, batch: int, length: int, seed: int
) -> None:
    torch.manual_seed(seed)
    ads = AdaptiveScaling(width, act, "both").double()
    y = torch.randn(width, 2, length, dtype=torch.float64, requires_grad=True)
    fast, plain = both_routes(ads, y, torch.randn(width, 2, length, dtype=torch.float64))
    torch.testing.assert_close(fast, plain)


def test_a_frozen_model_gets_the_gradient_of_its_input_alone() -> None:
    torch.manual_seed(0)
    weights, biases = torch.randn(6, 3).double(), torch.randn(6).double()
    y = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: scaled_at_once(y, weights, biases, "relu"), (y,))


@pytest.mark.parametrize("act", list(FROM_VALUE))
def test_gradients_of_large_arrays_can_be_differentiated_again(act: str) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2, 3), (4, 2), (4,))]
    assert torch.autograd.gradgradcheck(lambda *args: scaled_at_once(*args, act), inputs)


def test_an_array_beyond_the_limit_takes_the_route_for_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    ads, calls = AdaptiveScaling(16, "relu", "both"), []
    monkeypatch.setattr("ssmlab.nets.ads.scaled_at_once", lambda y, *_: calls.append(y.shape) or y)
    ads(torch.randn(16, 1, ads_large.LARGE // 16 - 1))
    assert calls == []
    ads(torch.randn(16, 1, ads_large.LARGE // 16))
    assert calls == [(16, ads_large.LARGE // 16)]
