"""Handles the caller's models: tries them on an image, freezes them for attacks, and restores their state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.evaluation.victim import Victim

# A model may raise these for images or dtypes that it does not support. Other exceptions are programming errors.
MODEL_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError)


def victim_of(model: nn.Module, image: Tensor, tick: Callable[[], None]) -> Victim:
    """Wrap a model for attacks, with images in float32 if it accepts them, else in the dtype of its parameters.

    Args:
        image: one image (1, C, H, W) to try the model on.
        tick: a function that is called before every forward pass.

    Raises:
        UserError: the model does not accept such images, or does not return logits.
    """
    tensors = (*model.parameters(), *model.buffers())
    own = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)
    failure: Exception | None = None
    for dtype in dict.fromkeys((torch.float32, own)):
        try:
            with torch.no_grad():
                logits = model(image.to(dtype, copy=True))
        except MODEL_ERRORS as error:
            failure = failure or error
        else:
            check_logits(logits, 1)
            return Victim(model, image.device, tick, dtype).requires_grad_(False)
    assert failure is not None
    raise UserError(cannot_run(image, failure)) from failure


def checked_logits(victim: Victim, x: Tensor) -> Tensor:
    """The logits (B, classes) for images x (B, C, H, W).

    Raises:
        UserError: the model cannot be run on them, or does not return logits.
    """
    try:
        logits: Tensor = victim(x)
    except MODEL_ERRORS as error:
        raise UserError(cannot_run(x, error)) from error
    check_logits(logits, len(x))
    return logits


def check_logits(logits: object, images: int) -> None:
    """Raise UserError unless `logits` is a float tensor (images, classes) with two or more classes."""
    if isinstance(logits, Tensor) and logits.is_floating_point() and logits.ndim == 2:
        if logits.shape[0] == images and logits.shape[1] > 1:
            return
        given = str(tuple(logits.shape))
    elif isinstance(logits, Tensor):
        given = f"{logits.dtype} {tuple(logits.shape)}"
    elif isinstance(logits, (tuple, list)):
        given = f"a {type(logits).__name__} of length {len(logits)}; wrap the model in a function that returns logits"
    else:
        given = type(logits).__name__
    raise UserError(f"the model must return logits ({images}, classes) for {images} images; it gave {given}")


def cannot_run(x: Tensor, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"the model cannot be run on images {tuple(x.shape[1:])}: {reason}"


def frozen_if_possible(model: nn.Module) -> nn.Module:
    """The model's frozen form if it has one, else the model. Other libraries' `freeze` methods may return None."""
    freeze = getattr(model.eval(), "freeze", None)
    frozen = freeze() if callable(freeze) else None
    return frozen if isinstance(frozen, nn.Module) else model


@contextmanager
def modules_restored(models: Iterable[nn.Module]) -> Iterator[None]:
    """Restore the training mode of every module and `requires_grad` of every parameter at the end."""
    models = list(models)
    modes = [(module, module.training) for model in models for module in model.modules()]
    wants = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in wants:
            parameter.requires_grad_(wanted)
