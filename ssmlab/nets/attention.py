"""Softmax self-attention as an enhancement: the size-matched counterpart of adaptive scaling.

y (D, B, L): what the SSM gives. W (3D, D), b (3D,): the maps to query, key and value, one head of width D each.

    y <- y + softmax(Q^T K / sqrt(D)) V,   Q, K, V = W y + b

(Vaswani et al. 2017, eq. 1, one head.) Every token sees every other, later ones too. The residual keeps the SSM's own
output, as AdS's multiplicative term does.

Where we differ: the published code has no such layer, it compares AdS with Mega only. The order of tokens is known to
this attention through the SSM alone.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ssmlab.nets.shapes import ChannelFirst
from ssmlab.nets.softmax_attention import attend, goes_at_once


class SelfAttention(nn.Module):
    """Single-head self-attention with a residual over channel-first sequences, (D, B, L) -> (D, B, L)."""

    def __init__(self, width: int):
        super().__init__()
        self.maps = nn.Linear(width, 3 * width)

    def forward(self, y: ChannelFirst) -> ChannelFirst:
        """y (D, B, L) with what each token gathers from the others added."""
        maps = torch.addmm(self.maps.bias[:, None], self.maps.weight, y.flatten(1)).view(
            -1, *y.shape[1:]
        )  # (3 D, B, L)
        query, key, value = maps.transpose(0, 1).chunk(3, dim=1)  # (B, D, L) each
        if not goes_at_once(query.transpose(1, 2)):
            gathered = attend(*(each.transpose(1, 2) for each in (query, key, value))).transpose(1, 2)  # (B, D, L)
            return y + gathered.transpose(0, 1)  # (D, B, L)
        scores = torch.bmm(query.transpose(1, 2), key) / math.sqrt(y.shape[0])  # (B, L, L)
        gathered = torch.bmm(value, scores.softmax(-1).transpose(1, 2))  # (B, D, L)
        return y + gathered.transpose(0, 1)  # (D, B, L)
