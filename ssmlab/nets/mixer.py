"""What every sequence layer offers, and how any module is frozen.

A mixer maps (B, L, D) to (B, L, D). `freeze(length)` gives a module with the same call in which everything that depends
on parameters alone (kernels, Toeplitz matrices, position biases) has been computed once and no parameter takes a
gradient: an attack needs the input's gradient only, and asks for it many times between two changes of the parameters.
"""

from __future__ import annotations

import copy
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from ssmlab.nets.chunked import Realisation
from ssmlab.nets.shapes import AnyComplex, AnyFloat, Kernel, Pairs


@runtime_checkable
class Freezable(Protocol):
    """A module that knows a cheaper form of itself for sequences of one length."""

    def freeze(self, length: int) -> nn.Module:
        """The same function of the input for `length` tokens, with no parameter gradients."""
        ...


class SsmKernel(nn.Module):
    """The convolution kernel of a linear SSM for each channel, with `state` real numbers of state."""

    state: int

    def forward(self, length: int) -> Kernel:
        """The taps (D, length), in float32 at least."""
        raise NotImplementedError

    def realisation(self, length: int) -> Realisation | None:
        """A state space of these taps, float64; None if there is none in which every mode decays."""
        raise NotImplementedError

    def ssm_parameters(self) -> list[nn.Parameter]:
        """The parameters of the recurrence."""
        raise NotImplementedError


class Mixer(nn.Module):
    """A sequence layer, (B, L, D) -> (B, L, D). Subclasses write `forward`; the rest has defaults."""

    def freeze(self, length: int) -> nn.Module:
        """A copy that shares its parameters' storage, with the parameter-only parts computed for `length` tokens."""
        return frozen(self, length)

    def ssm_parameters(self) -> list[nn.Parameter]:
        """The parameters of the recurrence (dt, A, B and their like), which are trained with their own rate."""
        return []


def frozen(module: nn.Module, length: int) -> nn.Module:
    """A light copy of `module` in evaluation mode, without parameter gradients, for sequences of `length` tokens.

    Parameters and buffers share the original's storage; submodules that are `Freezable` are replaced by their frozen
    form. The copy goes stale when the original's parameters change: make a new one then, never keep it.
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
    """`tensor` in float32, or as it is if it is float64: recurrences are never computed in half precision."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def as_complex(pairs: Pairs) -> AnyComplex:
    """Real pairs (..., 2), the form in which complex parameters are stored, as complex numbers (...)."""
    return torch.view_as_complex(full_precision(pairs).contiguous())


def as_pairs(numbers: AnyComplex) -> Pairs:
    """Complex numbers (...) as float32 pairs (..., 2)."""
    return torch.view_as_real(numbers.to(torch.complex64).contiguous())
