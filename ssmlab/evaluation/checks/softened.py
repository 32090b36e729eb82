"""Softens the backward pass of gates whose gradient vanishes, to see whether an attack then breaks more.

A closed gate (ReLU) or a saturated gate (sigmoid, tanh) passes no gradient, so an attack does not see the effect of
opening it. AdS multiplies by such gates. The remedy is BPDA (Athalye et al. 2018): the forward pass does not change,
and the backward pass uses the slope of a smoother function.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

RELUS = (torch.relu, F.relu, Tensor.relu)
SIGMOIDS = (torch.sigmoid, F.sigmoid, Tensor.sigmoid)
TANHS = (torch.tanh, F.tanh, Tensor.tanh)


class SoftGate(torch.autograd.Function):
    """A gate with the slope of a smoother function, whose width is the mean absolute value of the gate's inputs."""

    @staticmethod
    def forward(context: Any, z: Tensor, kind: str) -> Tensor:
        context.save_for_backward(z)
        context.kind = kind
        return {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}[kind](z)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (z,) = context.saved_tensors
        size = z.abs().mean().clamp(min=1e-12)
        if context.kind == "relu":
            slope = torch.sigmoid(4 * z / size)
        else:
            wide = z / size.clamp(min=1.0)
            slope = 1 - torch.tanh(wide) ** 2 if context.kind == "tanh" else torch.sigmoid(wide) * torch.sigmoid(-wide)
        return gradients[0] * slope, None


class SoftenedGates(TorchFunctionMode):
    """Inside this context, the gates of every model have a softer backward pass.

    Attributes:
        met: number of calls of gates so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kinds = [kind for kind, names in (("relu", RELUS), ("sigmoid", SIGMOIDS), ("tanh", TANHS)) if func in names]
        if not kinds or not args[0].is_floating_point():
            return func(*args, **(kwargs or {}))
        self.met += 1
        return SoftGate.apply(args[0], kinds[0])  # type: ignore[no-untyped-call]
