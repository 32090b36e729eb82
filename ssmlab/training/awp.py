"""Adversarial weight perturbation (Wu et al. 2020, Algorithm 1): the gradient where the loss near the weights is high.

Around the forward and backward pass of another regime every weight w stands at

    w + gamma |w| / |g| g,     g the gradient with respect to w of the loss that the regime lowers

(one step; the norms are those of the whole tensor), and is put back before the optimiser's step.

Where we differ: the published code perturbs a copy of the model and adds the difference; we perturb the model and put
back the very bits. Like it, we leave biases and norms alone; of an SSM we leave dt, A and B alone too, which decide how
stable a system is: a relative change of those makes another system, not the same one with other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssmlab.nets.classifier import ssm_parameters
from ssmlab.params import AwpParams


@contextmanager
def perturbed_weights(
    model: nn.Module, awp: AwpParams | None, objective: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
) -> Iterator[None]:
    """Inside, the weights stand where the loss is higher; without `awp` they stand where they always do.

    `objective(*inputs)` is evaluated once, on entry; its first result is the loss (). Gradients that the parameters
    hold are not changed by that, and those made inside remain.

    The gradient g passes through the parameters' `.grad`, the only one that DistributedDataParallel joins.
    """
    if awp is None:
        yield
        return
    weights = perturbed_parameters(model)
    originals = [weight.detach().clone() for weight in weights]
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    loss, *_ = objective(*inputs)
    loss.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in weights:
            gradient = weight.grad
            assert gradient is not None
            weight.add_(awp.gamma * weight.norm() / gradient.norm().clamp(min=1e-20) * gradient)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, original in zip(weights, originals, strict=True):
                weight.copy_(original)


def perturbed_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The weights that AWP moves: all of two or more dimensions that are not SSM parameters."""
    ssm = {id(parameter) for parameter in ssm_parameters(model)}
    return [p for p in model.parameters() if p.dim() > 1 and id(p) not in ssm]
