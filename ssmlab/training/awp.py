"""Adversarial weight perturbation (Wu et al. 2020, Algorithm 1): the gradient where the loss near the weights is high.

Around the forward and backward pass of another regime every weight w stands at

    w + gamma |w| / |g| g,     g the gradient to w of the loss that the regime lowers

(one step; the norms are those of the whole tensor), and is put back before the optimiser's step.

Where we differ: the published code perturbs a copy of the model and adds the difference; we perturb the model and put
back the very bits. Like it, we leave biases and norms alone; of an SSM we leave dt, A and B alone too, which say how
stable a system is: their neighbours in relative terms are other systems, not other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssmlab.nets.classifier import ssm_parameters
from ssmlab.params import AwpParams


@contextmanager
def perturbed(
    model: nn.Module, awp: AwpParams | None, objective: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
) -> Iterator[None]:
    """Within this block the weights stand where the loss is higher; without `awp` where they always do.

    `objective(*inputs)` is evaluated once, at the entry; its first result is the loss (). Gradients that the parameters
    hold are untouched then, and those that the block leaves remain.

    The gradient g goes by way of the parameters' `.grad`, the only one that DistributedDataParallel joins.
    """
    if awp is None:
        yield
        return
    weights = perturbable(model)
    kept = [weight.detach().clone() for weight in weights]
    held = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    loss, *_ = objective(*inputs)
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in weights:
            gradient = weight.grad
            assert gradient is not None
            weight.add_(awp.gamma * weight.norm() / gradient.norm().clamp(min=1e-20) * gradient)
    for parameter, gradient in zip(model.parameters(), held, strict=True):
        parameter.grad = gradient
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, kept, strict=True):
                weight.copy_(value)


def perturbable(model: nn.Module) -> list[nn.Parameter]:
    """The weights that AWP moves: all of two dimensions and more that are no SSM parameter."""
    spared = {id(parameter) for parameter in ssm_parameters(model)}
    return [p for p in model.parameters() if p.dim() > 1 and id(p) not in spared]
