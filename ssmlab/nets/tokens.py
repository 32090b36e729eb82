"""Images as sequences of tokens.

A token is a patch of p x p pixels, all colours; p = 1 is the paper's pixel sequence, L = (H/p) (W/p). `raster`: patches
row by row, in each its pixels row by row, in each its colours. `published`: the memory of (B, C, H, W) cut into L equal
pieces, which is what the published code does; for C = 1 it is the same as raster, for C = 3 a token is three
neighbouring values of one colour plane. There are no patches in it.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from ssmlab.nets.shapes import BatchFirst, Images


class Tokens(nn.Module):
    """(B, C, H, W) -> (B, L, C p p)."""

    def __init__(self, patch: int, order: Literal["raster", "published"]):
        super().__init__()
        self.patch = patch
        self.order = order

    def forward(self, x: Images) -> BatchFirst:
        """The tokens of images x (B, C, H, W)."""
        batch, channels, height, width = x.shape
        if self.order == "published":
            return x.reshape(batch, height * width, channels)  # (B, L, C)
        p = self.patch
        grid = x.reshape(batch, channels, height // p, p, width // p, p)
        return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, p * p * channels)  # (B, L, p p C)
