"""Adaptive scaling, AdS (Qi et al. 2024, section 5, eq. 9).

y (D, B, L): the output of the SSM. W_s, W_b (D, D), b_s, b_b (D,): scale and bias maps. act: relu, sigmoid or tanh.

    y <- act(W_s y + b_s) * y + act(W_b y + b_b)

`parts: scale` keeps only the first term; `parts: bias` is y + act(W_b y + b_b). We add three controls:

    parts: constant   both terms with W_s = W_b = 0, so that scale and bias depend only on the channel and the map is
                      affine. b_s starts at 1, so no relu is closed.
    parts: sum        y + act(W_s y + b_s) + act(W_b y + b_b): the same maps and activations without the product
    act: none         (W_s y + b_s) * y + W_b y + b_b: the product without an activation

Where we differ: nothing. Large arrays take the route of ads_large.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ssmlab.nets.ads_large import passes_count, scaled_at_once
from ssmlab.nets.shapes import ChannelFirst

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "none": torch.nn.Identity(),
}


class ConstantMap(nn.Module):
    """The map W y + b with W = 0; `start` is the initial value of b (D,)."""

    def __init__(self, width: int, start: float):
        super().__init__()
        self.bias = nn.Parameter(torch.full((width,), start))


class AdaptiveScaling(nn.Module):
    """AdS on channel-first sequences, (D, B, L) -> (D, B, L)."""

    def __init__(
        self,
        width: int,
        act: Literal["relu", "sigmoid", "tanh", "none"],
        parts: Literal["both", "scale", "bias", "constant", "sum"],
    ):
        super().__init__()
        self.act = act
        self.added = parts == "sum"  # the scale's term is added to y instead of multiplied with it
        self.scale: nn.Linear | ConstantMap | None = None
        self.bias: nn.Linear | ConstantMap | None = None
        if parts == "constant":
            self.scale, self.bias = ConstantMap(width, 1.0), ConstantMap(width, 0.1)
        else:
            self.scale = nn.Linear(width, width) if parts != "bias" else None
            self.bias = nn.Linear(width, width) if parts != "scale" else None

    def forward(self, y: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) scaled and shifted by functions of itself."""
        if isinstance(self.scale, nn.Linear) and isinstance(self.bias, nn.Linear) and self.in_few_passes(y):
            weights = torch.cat([self.scale.weight, self.bias.weight])  # (2 D, D)
            biases = torch.cat([self.scale.bias, self.bias.bias])  # (2 D,)
            return scaled_at_once(y.flatten(1), weights, biases, self.act).view_as(y)
        scaled = y
        if self.scale is not None:
            factor = self.acted(self.scale, y)
            scaled = y + factor if self.added else factor * y
        return scaled if self.bias is None else scaled + self.acted(self.bias, y)

    def in_few_passes(self, y: ChannelFirst) -> bool:
        """Whether y is so large that the passes over memory count."""
        return not self.added and passes_count(y, self.act)

    def acted(self, linear: nn.Linear | ConstantMap, y: ChannelFirst) -> ChannelFirst:
        """act(W y + b) for y (D, B, L)."""
        if isinstance(linear, ConstantMap):
            return ACTIVATIONS[self.act](linear.bias)[:, None, None].expand_as(y)  # (D, B, L)
        mapped = torch.addmm(linear.bias[:, None], linear.weight, y.flatten(1))  # (D, B L)
        return ACTIVATIONS[self.act](mapped).view_as(y)  # (D, B, L)
