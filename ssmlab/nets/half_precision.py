"""A frozen classifier that computes products and activations in bfloat16, for attacks.

An attack needs only the direction of the gradient, and matrix units of current processors multiply bfloat16 many times
faster than float32. Sensitive parts stay in float32 or float64:

- everything that depends only on parameters (kernels, step sizes, discretised A, B and C and their powers): the frozen
  model computes these before the result is rounded;
- the states of every recurrence, position biases and the softmax;
- the embedding of the pixels, the norm before the first layer, the mean over tokens and the head.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ssmlab.nets.classifier import Classifier
from ssmlab.nets.shapes import Images, Logits


class HalfPrecisionClassifier(nn.Module):
    """Images (B, C, H, W) in [0, 1], float32 -> logits (B, classes), float32.

    Args:
        frozen: the result of `Classifier.freeze()`.
    """

    def __init__(self, frozen: Classifier):
        super().__init__()
        self.stem, self.norm, self.head = frozen.stem, frozen.norm, frozen.head
        self.layers = nn.ModuleList(in_half_precision(layer) for layer in frozen.layers)
        self.training = False

    def forward(self, x: Images) -> Logits:
        """Logits (B, classes) of images x (B, C, H, W)."""
        h = self.norm(self.stem(x)).to(torch.bfloat16)  # (B, L, D)
        for layer in self.layers:
            h = layer(h)
        mean = h.sum(1, dtype=self.head.weight.dtype) / h.shape[1]  # (B, D)
        return self.head(mean)  # type: ignore[no-any-return]


def in_half_precision(module: nn.Module) -> nn.Module:
    """A copy of a frozen module whose real tensors are bfloat16, except for its `full_precision_tensors`."""
    twin = copy.copy(module)
    kept: frozenset[str] = getattr(module, "full_precision_tensors", frozenset())
    twin._parameters = {
        name: parameter
        if parameter is None or name in kept
        else nn.Parameter(parameter.to(torch.bfloat16), requires_grad=False)
        for name, parameter in module._parameters.items()
    }
    twin._buffers = {
        name: buffer if buffer is None or name in kept or buffer.is_complex() else buffer.to(torch.bfloat16)
        for name, buffer in module._buffers.items()
    }
    twin._modules = {
        name: child if child is None or name in kept else in_half_precision(child)
        for name, child in module._modules.items()
    }
    return twin
