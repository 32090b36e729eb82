"""Adversarial weight perturbation (Wu et al. 2020, Algorithm 1): gradients are taken at nearby weights of higher loss.

During the forward and backward pass of another regime every weight w is replaced by

    w + gamma |w| / |g| g,     g the gradient with respect to w of the loss that the regime minimises

(one step; the norms are over the whole tensor), and is restored before the optimiser's step.

Where we differ: the published code perturbs a copy of the model and adds the difference; we perturb the model itself
and restore its exact bits. Like the published code, we do not perturb biases and norms. We also do not perturb dt, A
and B of an SSM: they decide how stable the system is, so a relative change would make it a different system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssmlab.nets.classifier import ssm_parameters
from ssmlab.params import AwpParams


def awp_of_epoch(awp: AwpParams | None, epochs_done: int) -> AwpParams | None:
    """The argument `awp` of `perturbed_weights` in the epoch after `epochs_done`; None during the warm-up of AWP."""
    return None if awp is None or epochs_done < (awp.warmup or 0) else awp


@contextmanager
def perturbed_weights(
    model: nn.Module, awp: AwpParams | None, objective: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
) -> Iterator[None]:
    """Inside the block, the weights are perturbed; without `awp` nothing happens.

    `objective(*inputs)` is evaluated once, on entry; its first result is the loss (). This evaluation does not change
    the gradients of the parameters. Gradients that are computed inside the block remain.
    """
    if awp is None:
        yield
        return
    weights = perturbed_parameters(model)
    originals = [weight.detach().clone() for weight in weights]
    gradients = [parameter.grad for parameter in model.parameters()]
    # g must pass through `.grad`: that is the only gradient that DistributedDataParallel sums over the ranks
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
    """The weights that AWP perturbs: all with two or more dimensions, except SSM parameters."""
    ssm = {id(parameter) for parameter in ssm_parameters(model)}
    return [p for p in model.parameters() if p.dim() > 1 and id(p) not in ssm]
