"""What callers hand to `evaluate`, made into what the attacks need, or refused in one line that says what to change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError

ROUNDING = 1e-6  # how far beyond [0, 1] pixels may lie because of float arithmetic; they are put back


class CallableModel(nn.Module):
    """A plain function from images to logits as a module without parameters."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def prepared_model(model: Any) -> nn.Module:
    """The model as a module; raises UserError if it cannot be called."""
    if isinstance(model, nn.Module):
        return model
    if callable(model) and not isinstance(model, type):
        return CallableModel(model)
    what = f"the class {model.__name__}; make an object of it" if isinstance(model, type) else type(model).__name__
    raise UserError(f"model must be a module or a function from images to logits; it is {what}")


def prepared_images(x: Any) -> Tensor:
    """Images as a tensor (N, C, H, W) of float32 in [0, 1] that shares no memory with what the caller holds.

    Args:
        x: a tensor or an array of floats, N at least 1.

    Raises:
        UserError: it is not that.
    """
    given, images = dtype_and_shape(x), as_tensor(x)
    if images is None or images.ndim != 4 or images.numel() == 0:
        raise UserError(f"x must be images (N, C, H, W) with N at least 1; it is {given}")
    if not images.is_floating_point():
        raise UserError(f"x must be floats in [0, 1]; it is {given}: convert 8-bit images with x.float() / 255")
    low, high = images.aminmax()
    if not (low >= -ROUNDING and high <= 1.0 + ROUNDING):  # also true of NaN
        raise UserError(f"x must be in [0, 1]; it goes from {low:.3g} to {high:.3g}: divide 8-bit images by 255")
    return images.detach().to(torch.float32, copy=True).clamp(0.0, 1.0)


def prepared_labels(y: Any, images: int) -> Tensor:
    """Labels of so many images as a tensor (N,) of int64.

    Args:
        y: a tensor, an array or a sequence of integers of any width, at least 0.

    Raises:
        UserError: it is not that.
    """
    given, labels = dtype_and_shape(y), as_tensor(y)
    if labels is None or labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise UserError(f"y must be class numbers (N,), integers; it is {given}")
    if labels.dtype == torch.bool:
        raise UserError(f"y must be class numbers (N,), integers; it is {given}: convert it with y.long()")
    if len(labels) != images:
        raise UserError(f"x and y must have the same length; there are {images} images and {len(labels)} labels")
    labels = labels.detach().to(torch.int64, copy=True)
    if labels.min() < 0:
        raise UserError(f"y must be class numbers from 0 on; it holds {int(labels.min())}")
    return labels


def as_tensor(value: Any) -> Tensor | None:
    """A tensor, an array or a sequence of numbers as a tensor; None for anything else."""
    if isinstance(value, Tensor):
        return value
    try:
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Tensor) for item in value):
            return torch.stack(list(value))
        array = np.array(value)  # a copy: torch warns about arrays that cannot be written
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, RuntimeError):  # no numbers, or rows of different lengths
        return None


def dtype_and_shape(value: Any) -> str:
    """`torch.int32 (20,)`, `float64 (20, 1, 8, 8)` of an array, else the name of the type."""
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{value.dtype} {tuple(value.shape)}"
    return type(value).__name__
