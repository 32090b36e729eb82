"""Softmax self-attention as an enhancement: a counterpart of adaptive scaling with a similar number of parameters.

y (D, B, L): the output of the SSM. W (3D, D), b (3D,): the maps to query, key and value, each with one head of width D.

    y <- y + softmax(Q^T K / sqrt(D)) V,   Q, K, V = W y + b

(Vaswani et al. 2017, eq. 1, one head.) Every token attends to all tokens, including later ones. The residual keeps the
SSM's own output, as AdS's multiplicative term does.

Where we differ: the published code has no such layer; it compares AdS with Mega only. This attention has no position
encoding: it knows the order of the tokens only from the SSM's output.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ssmlab.nets.shapes import ChannelFirst
from ssmlab.nets.softmax_attention import attend, goes_at_once


class SelfAttention(nn.Module):
    """Single-head self-attention with a residual on channel-first sequences, (D, B, L) -> (D, B, L)."""

    def __init__(self, width: int):
        super().__init__()
        self.maps = nn.Linear(width, 3 * width)

    def forward(self, y: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) plus its attention output."""
        maps = torch.addmm(self.maps.bias[:, None], self.maps.weight, y.flatten(1))  # (3 D, B L)
        query, key, value = maps.view(-1, *y.shape[1:]).transpose(0, 1).chunk(3, dim=1)  # (B, D, L) each
        if goes_at_once(query.transpose(1, 2)):  # without `attend`: in this memory order its result needs no copy
            scores = torch.bmm(query.transpose(1, 2), key) / math.sqrt(y.shape[0])  # (B, L, L)
            gathered = torch.bmm(value, scores.softmax(-1).transpose(1, 2))  # (B, D, L)
        else:
            gathered = attend(*(each.transpose(1, 2) for each in (query, key, value))).transpose(1, 2)  # (B, D, L)
        return y + gathered.transpose(0, 1)  # (D, B, L)
