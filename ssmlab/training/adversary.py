"""The adversary of training and of model selection: projected gradient descent in an L-inf or L2 ball, inside [0, 1].

The judging attacks (evaluation/) are other people's code; this one is ours, so that a bug is not shared by both.

The pieces that single-step and weight-sharing regimes put together in their own way are here too. In all of them x is
(B, ...) in [0, 1], and the ball is that of every image by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.params import AdversaryParams, Norm
from ssmlab.training.sharding import normal, uniform

Model = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def project(x_adv: Tensor, x: Tensor, eps: float, norm: Norm = "linf") -> Tensor:
    """A point of the ball of radius `eps` around `x` and of [0, 1]: `x_adv` itself if it is in both, up to rounding.

    For L-inf it is the one nearest to `x_adv`. For L2 `x_adv` goes to the nearest point of the ball, then to that of
    the box; the second step only brings it closer to `x`.
    """
    if norm == "l2":
        return (x + shrink(x_adv - x, eps, norm)).clamp(0.0, 1.0)
    return torch.clamp(x_adv, min=x - eps, max=x + eps).clamp(0.0, 1.0)


def shrink(delta: Tensor, eps: float, norm: Norm) -> Tensor:
    """The point of the ball of radius `eps` around zero that is nearest to delta (B, ...)."""
    if norm == "l2":
        return delta * (eps / lengths(delta).clamp(min=max(eps, 1e-12)))
    return delta.clamp(-eps, eps)


def random_start(x: Tensor, eps: float, generator: torch.Generator, norm: Norm = "linf") -> Tensor:
    """`x` plus noise, cut to [0, 1]; drawn on the generator's device.

    L-inf: uniform in the ball. L2: a direction uniform on the sphere times a length uniform in [0, eps], as in
    torchattacks; in many dimensions the uniform distribution in the ball would be all on its surface.
    """
    if norm == "l2":
        noise = normal(x.shape, generator, x.dtype)
        size = uniform(lengths(noise).shape, 0.0, 1.0, generator, x.dtype)
        noise *= size / lengths(noise) * eps
    else:
        noise = uniform(x.shape, -eps, eps, generator, x.dtype)
    return project(x + noise.to(x.device), x, eps, norm)


def lengths(delta: Tensor) -> Tensor:
    """The Euclidean length of every delta (B, ...), as (B, 1, ...)."""
    length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)  # (B,)
    return length.view(-1, *[1] * (delta.dim() - 1))  # (B, 1, ...)


def start(x: Tensor, adversary: AdversaryParams, generator: torch.Generator | None) -> Tensor:
    """Where the adversary begins: `x`, or a random start; raises ValueError if that has no generator to draw from."""
    if not adversary.random_start:
        return x.detach()
    if generator is None:
        raise ValueError("a random start needs a generator")
    return random_start(x.detach(), float(adversary.eps), generator, adversary.norm)


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """The steepest ascent of length 1 in the norm: the gradient's sign, or the gradient over its length."""
    if norm == "linf":
        return gradient.sign()
    return gradient / lengths(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)


def input_gradient(model: Model, x: Tensor, y: Tensor, loss: Loss) -> Tensor:
    """The gradient of loss(model(x), y) to x, and to nothing else; it can be taken under no_grad too."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(model(x), y), x)
    return gradient


def step(x_adv: Tensor, x: Tensor, gradient: Tensor, adversary: AdversaryParams) -> Tensor:
    """One step of length alpha up the gradient, and back into the ball of radius eps around x and [0, 1]."""
    moved = x_adv.detach() + float(adversary.alpha) * direction(gradient, adversary.norm)
    return project(moved, x, float(adversary.eps), adversary.norm)


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    adversary: AdversaryParams,
    generator: torch.Generator | None,
    loss: Loss = F.cross_entropy,
) -> Tensor:
    """Adversarial examples by projected gradient descent: Madry et al. 2018, section 2.1, in the adversary's ball.

    x_0 is `x` or a random start; x_{t+1} = project(x_t + alpha direction(grad loss(model(x_t), y))).

    Only the input's gradient is computed, so `model` is best a frozen one; its mode, its parameters' gradients and the
    global random generator stay as they are.

    Args:
        model: images (B, ...) in [0, 1] to logits (B, classes).
        x: (B, ...) float in [0, 1].
        y: (B,) int64, passed to `loss` as it is.
        generator: where the random start is drawn from; may be None if there is none.
        loss: (logits, y) to the number that the adversary raises.

    Returns:
        x_adv: like `x`, detached, inside the ball and in [0, 1].

    Raises:
        ValueError: a random start without a generator.
    """
    return ascend(model, x, y, start(x, adversary, generator), adversary, loss)


def ascend(model: Model, x: Tensor, y: Tensor, x_adv: Tensor, adversary: AdversaryParams, loss: Loss) -> Tensor:
    """`pgd` from a given point `x_adv` of the ball."""
    for _ in range(adversary.steps):
        x_adv = step(x_adv, x, input_gradient(model, x_adv, y, loss), adversary)
    return x_adv.detach()
