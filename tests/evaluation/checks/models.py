"""Normal models of real digits, and models that mask their gradients on purpose: each of these raises its own check."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.ingest.formats.mnist5k import read_mnist5k

EPS = 0.1


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """2,000 real digits (N, 1, 14, 14) in [0, 1] and their labels, in a random order."""
    part = read_mnist5k().parts["train"]
    order = np.random.default_rng(0).permutation(5000)[:2000]
    images = torch.from_numpy(part.images.read(np.sort(order))).float() / 255  # (N, 1, 28, 28)
    shuffled = torch.from_numpy(np.random.default_rng(1).permutation(2000))
    labels = torch.from_numpy(part.labels[np.sort(order)]).long()
    return F.avg_pool2d(images, 2)[shuffled], labels[shuffled]


@functools.cache
def trained(robust: bool = False, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """A network that was trained on all digits but the first 100, on clean or on FGSM images."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(196, 64), activation(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    x, y = digits()
    for _ in range(12):
        for rows in torch.arange(100, len(x)).split(64):
            images, labels = x[rows], y[rows]
            if robust:
                noisy = (images + EPS * (2 * torch.rand_like(images) - 1)).requires_grad_()
                (gradient,) = torch.autograd.grad(F.cross_entropy(model(noisy), labels), noisy)
                images = (noisy + EPS * gradient.sign()).detach().clamp(0, 1)
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


class Function(nn.Module):
    """A model from a function of images and a trained model."""

    def __init__(self, function: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.model, self.function = trained(), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.model)


class NanGradient(torch.autograd.Function):
    """The identity with a gradient that is not a number."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient * float("nan")


class WrongGradient(torch.autograd.Function):
    """The identity with the opposite gradient."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return -gradient


class Counting(nn.Module):
    """A model that counts its forward passes in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.model = trained()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        logits: Tensor = self.model(x)
        return logits


class FreezesWrongly(nn.Module):
    """A model whose frozen form is another function."""

    def __init__(self) -> None:
        super().__init__()
        self.model = trained()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits

    def freeze(self) -> nn.Module:
        return Function(lambda x, model: 1.01 * model(x))


def quantised(x: Tensor, model: nn.Module) -> Tensor:
    return model((x * 4).round() / 4)


def dropped(x: Tensor, model: nn.Module) -> Tensor:
    return model(F.dropout(x, 0.3, training=True))


def shut_gates(x: Tensor, model: nn.Module) -> Tensor:
    """The hidden units go through a staircase of sigmoids that are steep enough to have no gradient."""
    hidden = model[2](model[1](x.flatten(1)))  # (B, 64)
    edges = torch.arange(0.15, 6.0, 0.3)  # (20,)
    stairs = 0.3 * torch.sigmoid(2000 * (hidden[:, :, None] - edges)).sum(dim=2)  # (B, 64)
    logits: Tensor = model[3](stairs)
    return logits


def batch_dependent(x: Tensor, model: nn.Module) -> Tensor:
    return model(x - 0.3 * x.mean(dim=0, keepdim=True))


def in_place(x: Tensor, model: nn.Module) -> Tensor:
    return model(x.sub_(0.1))


HONEST = {
    "relu": functools.partial(trained),
    "gelu": functools.partial(trained, activation=nn.GELU),
    "robust": functools.partial(trained, robust=True),
    "robust gelu": functools.partial(trained, robust=True, activation=nn.GELU),
}
PLANTED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "quantised images": (lambda: Function(quantised), "zero gradient of the cross entropy"),
    "active dropout": (lambda: Function(dropped), "random"),
    "logits times 10,000": (lambda: Function(lambda x, model: 1e4 * model(x)), "saturated"),
    "detached gradient": (lambda: Function(lambda x, model: model(x.detach())), "zero gradient of the margin"),
    "gradient of NaN": (lambda: Function(lambda x, model: model(NanGradient.apply(x))), "non-finite gradient"),
    "turned gradient": (lambda: Function(lambda x, model: model(WrongGradient.apply(x))), "gradient is not the slope"),
    "batch-dependent": (lambda: Function(batch_dependent), "batch-dependent"),
    "shut gates": (lambda: Function(shut_gates), "softened gates gain"),
    "softmax outputs": (lambda: Function(lambda x, model: model(x).softmax(1)), "probabilities"),
    "in-place normalisation": (lambda: Function(in_place), "changes its input or state"),
    "a counter of passes": (Counting, "changes its input or state"),
    "another frozen form": (FreezesWrongly, "frozen differs"),
}
