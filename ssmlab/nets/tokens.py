"""Images as sequences of tokens.

A token is a patch of p x p pixels with all colours, so L = (H/p) (W/p); p = 1 is the paper's pixel sequence. `raster`:
patches row by row; within a patch, pixels row by row; within a pixel, its colours. `published`: the memory of
(B, C, H, W) cut into L equal pieces, as the published code does. For C = 1 it equals raster; for C = 3 a token is three
neighbouring values of one colour channel. `published` has no patches.

Three other orders of the same patches show how much a result depends on the order. `column`: column by column. `snake`:
row by row, every second row from right to left, so neighbours in the sequence are also neighbours in the image.
`permuted`: one random order, the same for every model and image.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ssmlab.nets.shapes import BatchFirst, Images

TokenOrder = Literal["raster", "published", "column", "snake", "permuted"]
PERMUTATION_SEED = 0


class Tokens(nn.Module):
    """(B, C, H, W) -> (B, L, C p p)."""

    def __init__(self, patch: int, order: TokenOrder):
        super().__init__()
        self.patch = patch
        self.order = order

    def forward(self, x: Images) -> BatchFirst:
        """The tokens of images x (B, C, H, W)."""
        batch, channels, height, width = x.shape
        if self.order == "published":
            return x.reshape(batch, height * width, channels)  # (B, L, C)
        p = self.patch
        rows, columns = height // p, width // p
        grid = x.reshape(batch, channels, rows, p, columns, p)
        patches = grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, p * p * channels)  # (B, L, p p C)
        return patches if self.order == "raster" else patches[:, self.places(rows, columns, x.device)]

    def places(self, rows: int, columns: int, device: torch.device) -> Tensor:
        """(L,) int64: the raster index of each token's patch, for a grid of rows x columns patches."""
        raster = torch.arange(rows * columns, device=device).view(rows, columns)
        if self.order == "column":
            return raster.t().flatten()
        if self.order == "snake":
            raster[1::2] = raster[1::2].flip(1)
            return raster.flatten()
        generator = torch.Generator().manual_seed(PERMUTATION_SEED)
        return torch.randperm(rows * columns, generator=generator).to(device)
