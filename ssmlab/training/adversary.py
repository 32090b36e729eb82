"""The adversary of training and of model selection: projected gradient descent in an L-inf or L2 ball, inside [0, 1].

This attack shares no code with the attacks that judge a model (evaluation/, mostly torchattacks), so both cannot have
the same bug.

`pgd` is made of the small functions below it. Single-step regimes, FreeAT and YOPO combine these functions in other
ways. x is always (B, ...) in [0, 1], and every image has its own ball.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.core.errors import UserError
from ssmlab.nets.shapes import PerImage, Pixels
from ssmlab.params import Norm
from ssmlab.training.attack import Attack
from ssmlab.training.sharding import draw_normal, draw_uniform

ModelLike = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
ROUNDING = 1e-3  # pixels may be outside [0, 1] by this much, because of rounding in bfloat16 or interpolation
DEFAULT_SEED = 0  # seed of the random start of `pgd` without a generator


def pgd(
    model: ModelLike,
    x: Pixels,
    y: Tensor,
    attack: Attack,
    generator: torch.Generator | None = None,
    loss: Loss = F.cross_entropy,
) -> Pixels:
    """Adversarial examples by projected gradient descent (Madry et al. 2018, section 2.1).

    x_0 is `x` or a random start; x_{t+1} = project(x_t + alpha direction(grad loss(model(x_t), y))).

    Only the input's gradient is computed, so a frozen model (`model.freeze()`) is fastest. The model's mode, its
    parameters' gradients and the global random generator do not change.

    Args:
        model: images (B, ...) in [0, 1] to logits (B, classes).
        x: (B, ...) float in [0, 1].
        y: (B,) int64, passed to `loss` as it is.
        attack: the ball, the steps and the start.
        generator: draws the random start. Without one, a new generator with a fixed seed is used, so equal calls give
            equal examples; for restarts pass your own generator.
        loss: from (logits, y) to the number () that the attack increases.

    Returns:
        x_adv: like `x`, detached, inside the ball and in [0, 1].

    Raises:
        UserError: `x` is not as described, `y` has another length, or gradients are off (torch.inference_mode).
    """
    check_pixels(x, y)
    return pgd_steps(model, x, y, attack, generator, loss)


def pgd_steps(
    model: ModelLike,
    x: Pixels,
    y: Tensor,
    attack: Attack,
    generator: torch.Generator | None = None,
    loss: Loss = F.cross_entropy,
) -> Pixels:
    """`pgd` without its checks, for images that were checked when they were read; a check would make a GPU wait."""
    return ascend(model, x, y, starting_point(x, attack, generator), attack, loss)


def check_pixels(x: object, y: Tensor) -> None:
    """Raise UserError unless x (B, ...) are floats in [0, 1] and y has B entries.

    Adversarial images are clipped to [0, 1], so images of another range would become white or black without an error.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        what = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise UserError(f"pgd: x must be a tensor of floats in [0, 1]; it is {what}")
    if torch.is_inference_mode_enabled() or x.is_inference():
        raise UserError("pgd: it needs gradients; call it, and make x, outside of torch.inference_mode()")
    if len(y) != len(x):
        raise UserError(f"pgd: x and y must have the same length; there are {len(x)} images and {len(y)} labels")
    low, high = x.detach().aminmax() if x.numel() else (x.new_zeros(()), x.new_ones(()))
    if not (low >= -ROUNDING and high <= 1.0 + ROUNDING):  # also rejects NaN
        raise UserError(f"pgd: x must be in [0, 1]; it ranges from {low:.3g} to {high:.3g}: divide 8-bit images by 255")


def ascend(model: ModelLike, x: Pixels, y: Tensor, x_adv: Pixels, attack: Attack, loss: Loss) -> Pixels:
    """The steps of `pgd`, from a given point `x_adv` of the ball around `x`."""
    inside = projection(x, attack.eps, attack.norm)
    x_adv = x_adv.detach()
    for _ in range(attack.steps):
        gradient = input_gradient(model, x_adv, y, loss)
        step = steepest_direction(gradient, attack.norm).mul_(attack.alpha)
        x_adv = inside(step.add_(x_adv))
    return x_adv


def input_gradient(model: ModelLike, x: Pixels, y: Tensor, loss: Loss) -> Pixels:
    """The gradient of loss(model(x), y) with respect to x only; it also works under no_grad."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(model(x), y), x)
    return gradient


def steepest_direction(gradient: Pixels, norm: Norm) -> Pixels:
    """The direction of steepest ascent, with length 1 in `norm`: the gradient's sign, or the normalised gradient."""
    if norm == "linf":
        return gradient.sign()
    scaled = near_one(gradient)
    return scaled / l2_norms(scaled).clamp(min=torch.finfo(gradient.dtype).tiny)


def near_one(gradient: Pixels) -> Pixels:
    """Every gradient (B, ...) times a power of two, so that its largest entry is between 1/2 and 1 (0 stays 0).

    Without it, squares of the gradient of a very sure model underflow: the length is too small and the step too long.
    """
    largest: Tensor = torch.linalg.vector_norm(gradient.flatten(1), torch.inf, dim=1)  # (B,)
    exponent = torch.frexp(largest).exponent.clamp(-126, 126)  # 2^126 is finite in float32
    return torch.ldexp(gradient, -exponent.view(-1, *[1] * (gradient.dim() - 1)))


def starting_point(x: Pixels, attack: Attack, generator: torch.Generator | None) -> Pixels:
    """Where the attack begins: `x` itself or a random point of its ball; `generator` as in `pgd`."""
    if not attack.random_start:
        return x.detach()
    if generator is None:
        generator = torch.Generator(x.device).manual_seed(DEFAULT_SEED)
    return random_start(x.detach(), attack.eps, generator, attack.norm)


def random_start(x: Pixels, eps: float, generator: torch.Generator, norm: Norm = "linf") -> Pixels:
    """`x` plus a random point of the ball of radius `eps`, clipped to [0, 1]; drawn on the generator's device.

    L-inf: uniform in the ball. L2: a direction uniform on the sphere times a length uniform in [0, eps], as in
    torchattacks. (In many dimensions, nearly all points of a uniform distribution in the ball are near its surface.)
    """
    if norm == "l2":
        noise = draw_normal(x.shape, generator, x.dtype)
        length = draw_uniform(l2_norms(noise).shape, 0.0, 1.0, generator, x.dtype)
        noise *= length / l2_norms(noise) * eps
    else:
        noise = draw_uniform(x.shape, -eps, eps, generator, x.dtype)
    return project(x + noise.to(x.device), x, eps, norm)


def project(x_adv: Pixels, x: Pixels, eps: float, norm: Norm = "linf") -> Pixels:
    """`x_adv` moved into the ball of radius `eps` around `x` and into [0, 1]; unchanged if it is in both already.

    For L-inf the result is the nearest such point. For L2, `x_adv` goes to the nearest point of the ball, then to the
    nearest point of the box, which only brings it closer to `x`. All up to rounding.
    """
    return projection(x, eps, norm)(x_adv)


def projection(x: Pixels, eps: float, norm: Norm) -> Callable[[Tensor], Tensor]:
    """`project` for one x (B, ...) in [0, 1] and many calls; everything that depends only on x is computed once."""
    if norm == "l2":
        return lambda x_adv: (x + project_delta(x_adv - x, eps, norm)).clamp(0.0, 1.0)
    low, high = (x - eps).clamp(min=0.0), (x + eps).clamp(max=1.0)
    return lambda x_adv: x_adv.clamp(low, high)


def project_delta(delta: Pixels, eps: float, norm: Norm) -> Pixels:
    """The point of the ball of radius `eps` around zero that is nearest to delta (B, ...)."""
    if norm == "l2":
        return delta * (eps / l2_norms(delta).clamp(min=max(eps, 1e-12)))
    return delta.clamp(-eps, eps)


def l2_norms(delta: Pixels) -> PerImage:
    """The Euclidean length of every delta (B, ...), as (B, 1, ...)."""
    length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1)  # (B,)
    return length.view(-1, *[1] * (delta.dim() - 1))  # (B, 1, ...)
