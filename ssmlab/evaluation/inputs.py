"""Converts the arguments of `evaluate` into the form that attacks need, or rejects them with a clear message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError

ROUNDING = 1e-6  # pixels may be outside [0, 1] by this much because of float arithmetic; they are clipped


class CallableModel(nn.Module):
    """A module without parameters that calls a function from images to logits."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def prepared_model(model: Any) -> nn.Module:
    """The model as a module.

    Raises:
        UserError: it cannot be called.
    """
    if isinstance(model, nn.Module):
        return model
    if callable(model) and not isinstance(model, type):
        return CallableModel(model)
    what = f"the class {model.__name__}; make an object of it" if isinstance(model, type) else type(model).__name__
    raise UserError(f"model must be a module or a function from images to logits; it is {what}")


def prepared_images(x: Any) -> Tensor:
    """A copy of images as a tensor (N, C, H, W), float32 in [0, 1].

    Args:
        x: a tensor or an array of floats, with N at least 1.

    Raises:
        UserError: it is something else.
    """
    given, images = dtype_and_shape(x), as_tensor(x)
    if images is None or images.ndim != 4 or images.numel() == 0:
        raise UserError(f"x must be images (N, C, H, W) with N at least 1; it is {given}")
    if not images.is_floating_point():
        raise UserError(f"x must be floats in [0, 1]; it is {given}: convert 8-bit images with x.float() / 255")
    images = images.detach().to(torch.float32)
    low, high = images.aminmax()
    if not (low >= -ROUNDING and high <= 1.0 + ROUNDING):  # also rejects NaN
        raise UserError(f"x must be in [0, 1]; it ranges from {low:.3g} to {high:.3g}: divide 8-bit images by 255")
    return images.clamp(0.0, 1.0)  # a new tensor


def prepared_labels(y: Any, images: int) -> Tensor:
    """A copy of the labels of `images` images as a tensor (N,), int64.

    Args:
        y: a tensor, an array or a sequence of integers of any dtype, all at least 0.

    Raises:
        UserError: it is something else.
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
        raise UserError(f"y must be class numbers, 0 or larger; it contains {int(labels.min())}")
    return labels


def as_tensor(value: Any) -> Tensor | None:
    """Convert a tensor, an array or a sequence of numbers to a tensor; None for anything else.

    It is also None for tensors without values or with another layout, and for arrays with masked values.
    """
    if isinstance(value, Tensor):
        plain = value.layout == torch.strided and not value.is_nested and not value.is_meta and not value.is_quantized
        return value if plain else None
    if isinstance(value, np.ma.MaskedArray):
        return None
    try:
        if isinstance(value, (list, tuple)) and value and all(isinstance(item, Tensor) for item in value):
            return torch.stack(list(value))
        array = np.array(value)  # a copy, because torch warns about read-only arrays
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, RuntimeError):  # not numbers, or rows of different lengths
        return None


def dtype_and_shape(value: Any) -> str:
    """`torch.int32 (20,)` for a tensor, `float64 (20, 1, 8, 8)` for an array, else the name of the type."""
    if isinstance(value, Tensor) and (value.layout != torch.strided or value.is_nested or value.is_meta):
        return f"a tensor that is not plain (layout {value.layout}, device {value.device})"
    if isinstance(value, np.ma.MaskedArray):
        return "a masked array"
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{value.dtype} {tuple(value.shape)}"
    return type(value).__name__
