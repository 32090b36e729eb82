"""The L-inf adversary of training and of model selection: projected gradient descent inside [0, 1].

The judging attacks (evaluation/) are other people's code; this one is ours, so that a bug is not shared by both.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.params import AdversaryParams

Model = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


def project(x_adv: Tensor, x: Tensor, eps: float) -> Tensor:
    """The point of the L-inf ball of radius `eps` around `x`, cut to [0, 1], that is nearest to `x_adv`.

    All of one shape; `x` in [0, 1]. Exact up to the rounding of x ± eps.
    """
    return torch.clamp(x_adv, min=x - eps, max=x + eps).clamp(0.0, 1.0)


def random_start(x: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """`x` plus uniform noise in [-eps, eps], cut to [0, 1]; drawn on the generator's device."""
    noise = torch.empty(x.shape, dtype=x.dtype, device=generator.device).uniform_(-eps, eps, generator=generator)
    return project(x + noise.to(x.device), x, eps)


def pgd(
    model: Model,
    x: Tensor,
    y: Tensor,
    adversary: AdversaryParams,
    generator: torch.Generator | None,
    loss: Loss = F.cross_entropy,
) -> Tensor:
    """Adversarial examples by projected gradient descent: Madry et al. 2018, section 2.1, in the L-inf ball.

    x_0 is `x` or a random start; x_{t+1} = project(x_t + alpha sign(grad loss(model(x_t), y))).

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
    eps, alpha = float(adversary.eps), float(adversary.alpha)
    x_adv = x.detach()
    if adversary.random_start:
        if generator is None:
            raise ValueError("a random start needs a generator")
        x_adv = random_start(x_adv, eps, generator)
    for _ in range(adversary.steps):
        x_adv.requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(model(x_adv), y), x_adv)
        x_adv = project(x_adv.detach() + alpha * gradient.sign(), x, eps)
    return x_adv.detach()
