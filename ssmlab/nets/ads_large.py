"""Adaptive scaling on arrays that do not fit into a core's cache: the map of ads.py in fewer passes over memory.

    y <- act(W_s y + b_s) * y + act(W_b y + b_b)

Both maps are one product with the stacked weights (W_s, W_b). The gradients of both maps' outputs are in one array too,
so the gradient of y needs one product instead of two products and their sum. Forward and backward pass to y with D 128
and 25,088 tokens: 39 ms instead of 51, of which the products take 22 (one thread of an Intel Xeon, 2026-11-28). Arrays
that fit into a cache gain nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ssmlab.nets.second_gradients import plain_gradients
from ssmlab.nets.shapes import AllTokens, StackedBiases, StackedWeights

LARGE = 2**20  # numbers in y: 4 MiB in float32

aten = torch.ops.aten
# Writes the gradient of each function's argument to `out`, from the gradient of its value and the value.
FROM_VALUE: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "relu": lambda gradient, value, out: aten.threshold_backward.grad_input(gradient, value, 0, grad_input=out),
    "sigmoid": lambda gradient, value, out: aten.sigmoid_backward.grad_input(gradient, value, grad_input=out),
    "tanh": lambda gradient, value, out: aten.tanh_backward.grad_input(gradient, value, grad_input=out),
}


def passes_count(y: Tensor, act: str) -> bool:
    """Whether passes over memory take so much time that `scaled_at_once` is faster; in bfloat16 it is not."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):  # then sizes may be symbols
        return False
    return y.device.type == "cpu" and y.dtype != torch.bfloat16 and act in FROM_VALUE and y.numel() >= LARGE


def scaled_at_once(y: AllTokens, weights: StackedWeights, biases: StackedBiases, act: str) -> AllTokens:
    """AdS for y (D, B L), with weights (2 D, D) and biases (2 D,) of the scale, then of the bias."""
    scaled: Tensor = ScaledAtOnce.apply(y, weights, biases, act)  # type: ignore[no-untyped-call]
    return scaled


def scaled_plainly(y: AllTokens, weights: StackedWeights, biases: StackedBiases, act: str) -> AllTokens:
    """`scaled_at_once` with autograd's own gradients, which can be differentiated again."""
    factor, added = values(y, weights, biases, act).chunk(2)
    return factor * y + added


def values(y: AllTokens, weights: StackedWeights, biases: StackedBiases, act: str) -> Tensor:
    """act(W y + b) of both maps, (2 D, B L)."""
    mapped = torch.addmm(biases[:, None], weights, y)
    value: Tensor = getattr(torch, f"{act}_")(mapped)  # in place: neither gradient needs the argument
    return value


class ScaledAtOnce(torch.autograd.Function):
    """`scaled_at_once` and its gradients."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weights: Tensor, biases: Tensor, act: str) -> Tensor:
        """The scaled y (D, B L)."""
        both = values(y, weights, biases, act)  # (2 D, B L)
        ctx.save_for_backward(y, weights, biases, both)
        ctx.act = act
        factor, added = both.chunk(2)
        return torch.addcmul(added, factor, y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of y, weights and biases."""
        y, weights, biases, both = ctx.saved_tensors
        (gradient,) = gradients
        if torch.is_grad_enabled():  # these gradients will be differentiated again
            return *plain_gradients(partial(scaled_plainly, act=ctx.act), (y, weights, biases), gradient), None
        mapped = torch.empty_like(both)  # the gradient of W y + b, (2 D, B L)
        (of_factor, of_added), (factor, added) = mapped.chunk(2), both.chunk(2)
        torch.mul(gradient, y, out=of_factor)
        FROM_VALUE[ctx.act](of_factor, factor, of_factor)
        FROM_VALUE[ctx.act](gradient, added, of_added)
        dy = torch.mm(weights.t(), mapped).addcmul_(gradient, factor)  # (D, B L)
        dweights = torch.mm(mapped, y.t()) if ctx.needs_input_grad[1] else None  # (2 D, D)
        return dy, dweights, mapped.sum(1) if ctx.needs_input_grad[2] else None, None
