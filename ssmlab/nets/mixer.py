"""The interface of every sequence layer, and how to freeze a module.

A mixer maps (B, L, D) to (B, L, D). `freeze(length)` returns a module for the same input and output in which everything
that depends only on parameters (kernels, Toeplitz matrices, position biases) is precomputed and parameters get no
gradient. Attacks use it: they need only the input's gradient, many times before the parameters change.
"""

from __future__ import annotations

import copy
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from ssmlab.nets.chunked import StateSpace
from ssmlab.nets.shapes import AnyComplex, AnyFloat, Kernel, Pairs


@runtime_checkable
class Freezable(Protocol):
    """A module that can return a cheaper form of itself for sequences of one length."""

    def freeze(self, length: int) -> nn.Module:
        """The same function of the input for `length` tokens, without gradients of parameters."""
        ...


class SsmKernel(nn.Module):
    """The convolution kernel of a linear SSM for each channel; `state` is the number of real states per channel."""

    state: int

    def forward(self, length: int) -> Kernel:
        """The taps (D, length), float32 or float64."""
        raise NotImplementedError

    def realisation(self, length: int) -> StateSpace | None:
        """A state space with these taps, float64; None if a mode does not decay."""
        raise NotImplementedError

    def ssm_parameters(self) -> list[nn.Parameter]:
        """The parameters of the recurrence."""
        raise NotImplementedError


class Ssm(nn.Module):
    """A linear state space on channel-first sequences, (D, B, L) -> (D, B, L).

    Attributes:
        any_order: whether `forward` reads sequences in any memory order; otherwise they must be contiguous to be fast.
    """

    any_order: bool = False

    def ssm_parameters(self) -> list[nn.Parameter]:
        """The parameters of the recurrence."""
        raise NotImplementedError


class Mixer(nn.Module):
    """A sequence layer, (B, L, D) -> (B, L, D). Subclasses implement `forward`; the other methods have defaults."""

    def freeze(self, length: int) -> nn.Module:
        """A copy that shares the parameters' storage; everything that depends only on parameters is precomputed."""
        return frozen(self, length)

    def ssm_parameters(self) -> list[nn.Parameter]:
        """The parameters of the recurrence (such as dt, A, B), which have their own learning rate."""
        return []


def frozen(module: nn.Module, length: int) -> nn.Module:
    """A shallow copy of `module` in evaluation mode, without parameter gradients, for sequences of `length` tokens.

    Parameters and buffers share the original's storage. Submodules that are `Freezable` are replaced by their frozen
    form. After a change of the original's parameters the copy is out of date: freeze the module again then.
    """
    twin = copy.copy(module)
    twin._parameters = {
        name: None if parameter is None else nn.Parameter(parameter.detach(), requires_grad=False)
        for name, parameter in module._parameters.items()
    }
    twin._buffers = dict(module._buffers)
    twin._modules = {
        name: child.freeze(length) if isinstance(child, Freezable) else frozen(child, length)
        for name, child in module._modules.items()
        if child is not None
    }
    twin.training = False
    return twin


def full_precision(tensor: AnyFloat) -> AnyFloat:
    """`tensor` in float32; float64 stays float64. Recurrences are never computed in half precision."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def as_complex(pairs: Pairs) -> AnyComplex:
    """Complex numbers (...) from real pairs (..., 2), the form in which complex parameters are stored."""
    return torch.view_as_complex(full_precision(pairs).contiguous())


def as_pairs(numbers: AnyComplex) -> Pairs:
    """Complex numbers (...) as float32 pairs (..., 2)."""
    return torch.view_as_real(numbers.to(torch.complex64).contiguous())
