"""A simulated GPU: torch computes devices, types, shapes and gradients on it, but no numbers."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration

GPU = "fakegpu"


class FakeGpuModule(backend_registration._DummyBackendModule):
    """The functions that torch expects of a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """There is nothing to seed."""


@cache
def fake_gpu() -> FakeTensorMode:
    """The mode in which tensors may be on the device GPU; a tensor on the CPU among them is an error."""
    backend_registration._setup_privateuseone_for_python_backend(GPU, backend_module=FakeGpuModule())
    return FakeTensorMode()


def on_fake_gpu(model: nn.Module) -> nn.Module:
    """A copy of a real model with every parameter and buffer on the fake GPU."""
    twin = copy.copy(model)
    twin._parameters = {
        name: None if each is None else nn.Parameter(moved(each), each.requires_grad)
        for name, each in model._parameters.items()
    }
    twin._buffers = {name: None if each is None else moved(each) for name, each in model._buffers.items()}
    twin._modules = {name: child and on_fake_gpu(child) for name, child in model._modules.items()}
    return twin


def moved(tensor: Tensor) -> Tensor:
    """A tensor of the same shape and type on the fake GPU."""
    with fake_gpu():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)
