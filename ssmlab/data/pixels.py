"""From stored pixels (uint8) to what models take (float32 in [0, 1])."""

from __future__ import annotations

import torch
from torch import Tensor


def to_unit(images: Tensor) -> Tensor:
    """uint8 pixels of any shape as float32 in [0, 1]: k / 255, correctly rounded, the same bits on every device."""
    # divide by a tensor: a GPU may replace division by a Python number with multiplication by its reciprocal, which can
    # change the last bit
    return images.to(torch.float32, copy=True).div_(torch.full((1,), 255.0, device=images.device))
