"""Where in a model's scan each patch of an image is read."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ssmlab.nets.tokens import Tokens
from ssmlab.params import ModelParams


def scan_places(model: ModelParams, image_shape: Sequence[int], patch: int) -> tuple[float, ...]:
    """For every patch of an image (C, H, W), row by row, its mean place among the tokens, from 0 (first) to 1 (last).

    The model's own function cuts an image whose values are the numbers of its pixels, so that every order of tokens is
    right by construction.
    """
    channels, height, width = image_shape
    columns = width // patch
    numbers = torch.arange(height * width, dtype=torch.float64).view(1, 1, height, width)
    tokens = Tokens(model.patch, model.tokens)(numbers.repeat(1, channels, 1, 1))[0]  # (L, values)
    pixels = tokens.long()
    patches = pixels // width // patch * columns + pixels % width // patch  # (L, values)
    places = torch.arange(len(tokens), dtype=torch.float64)[:, None].expand_as(tokens)  # (L, values)
    count = height // patch * columns
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, patches.flatten(), places.flatten())
    each = tokens.numel() // count  # values of a patch
    return tuple((sums / each / max(len(tokens) - 1, 1)).tolist())
