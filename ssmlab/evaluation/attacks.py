"""The judging attacks, assembled from torchattacks' parts, and our own judgement of the images they return.

torchattacks is independent of the attack that trains the models, so that a shared bug cannot flatter a result. It is
used as it is installed; what it does to its surroundings is undone here:

- it reseeds the global generator, so every attack runs under a forked one;
- it takes the device from the first parameter, prints where there is none, and switches the module's mode, so it is
  handed a `Victim`, which has a parameter and is in eval mode, and never the model itself;
- its attack objects lie in reference cycles and keep their model until the garbage collector comes by. That is
  harmless here, where all of them share one victim;
- its answers are taken for nothing but images: `check_confined` checks them, and our own forward pass judges them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from ssmlab.params import AttackSpec, FgsmParams, PgdParams

TOLERANCE = 1e-6  # float32 rounding of x + delta; anything further out of the ball or of [0, 1] is a violation
MOST_TARGETS = 9  # of standard AutoAttack (Croce and Hein 2020)
AUTOATTACK_PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")


def no_tick() -> None:
    """The `tick` of callers that do not follow the progress."""


class Victim(nn.Module):
    """A model as torchattacks sees it: in eval mode, with a parameter that says where it is.

    It also keeps the model's habits away from the attack: the model gets a copy of the images, because some models
    normalise in place; images in the dtype that it computes in; and its logits become float32. Logits without a
    gradient get one that is zero, which the checks for masked gradients then report.

    Args:
        model: from images (B, C, H, W) in [0, 1] to logits (B, classes), on `device`; it is put in eval mode.
        tick: called before every forward pass, so that somebody can follow a long attack.
        dtype: of the images that the model gets.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        tick: Callable[[], None] = no_tick,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros((), device=device), requires_grad=False)
        self.model = model
        self.tick = tick
        self.dtype = dtype
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes), float32, of images (B, C, H, W)."""
        self.tick()
        logits: Tensor = self.model(x.to(self.dtype, copy=True)).float()
        if x.requires_grad and torch.is_grad_enabled():
            # A model that detaches its images then has a gradient of zero, which a check reports, and not none at all,
            # which autograd refuses with an error of its own.
            logits = logits + 0.0 * x.flatten(1).sum(dim=1, keepdim=True)  # (B, classes)
        return logits

    @torch.no_grad()
    def is_right(self, x: Tensor, y: Tensor) -> Tensor:
        """Whether each image of x (B, C, H, W) has label y (B,): bool (B,). Logits that are not finite are wrong."""
        return is_right(self(x), y)


def is_right(logits: Tensor, y: Tensor) -> Tensor:
    """Whether logits (B, classes) say y (B,): bool (B,). Logits that are not finite are wrong."""
    return (logits.argmax(dim=1) == y) & logits.isfinite().all(dim=1)  # (B,)


@dataclass(frozen=True)
class Survivors:
    """Which images of a batch an attack has not broken.

    Attributes:
        right: (B,) bool, the images that are still classified correctly.
        after: for each part of the attack, in order, how many of them were left after it.
        escaped: how many images came back outside the ball or [0, 1]; they count as not broken.
    """

    right: Tensor
    after: dict[str, int]
    escaped: int


def run_attack(
    spec: AttackSpec, victim: Victim, x: Tensor, y: Tensor, eps: float, classes: int, seed: int
) -> Survivors:
    """Attack images that the victim classifies correctly; a part sees only those that the parts before it left over.

    Args:
        x: (B, C, H, W) float32 in [0, 1]; y: (B,) int64; both on the victim's device.
        eps: radius of the L-inf ball in pixel units.
        seed: of everything random in it; the global generators are left as they were.
    """
    right = torch.ones_like(y, dtype=torch.bool)
    after: dict[str, int] = {}
    escaped = 0
    with forked_generators(), attack_defaults():
        torch.manual_seed(seed)
        for name, part in ensemble_parts(spec, victim, eps, classes, seed).items():
            left = right.nonzero().flatten()
            if len(left):
                x_adv, inside = check_confined(x[left], part(x[left], y[left]), eps)
                right[left] = victim.is_right(x_adv, y[left]) | ~inside
                escaped += int((~inside).sum())
            after[name] = int(right.sum())
    return Survivors(right, after, escaped)


def ensemble_parts(spec: AttackSpec, victim: nn.Module, eps: float, classes: int, seed: int) -> dict[str, Any]:
    """The torchattacks objects behind a specification, in the order in which they run.

    AutoAttack is the standard ensemble of Croce and Hein (2020): APGD on the cross-entropy, targeted APGD and targeted
    FAB with 9 targets (all wrong classes if there are fewer), and Square without its rescaled schedule.
    `torchattacks.AutoAttack` has the parts but not these settings: 10 steps, and Square rescaled.

    AutoAttack needs at least 4 classes: see `ssmlab.evaluation.plan`.
    """
    if isinstance(spec, FgsmParams):
        return {"fgsm": torchattacks.FGSM(victim, eps=eps)}
    if isinstance(spec, PgdParams):
        alpha = float(spec.alpha)
        return {"pgd": torchattacks.PGD(victim, eps=eps, alpha=alpha, steps=spec.steps, random_start=spec.random_start)}
    common = {"norm": "Linf", "eps": eps, "n_restarts": 1, "seed": seed}
    apgd = {**common, "steps": spec.steps, "eot_iter": 1, "rho": 0.75}
    fab = {**common, "steps": spec.steps, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
    square = {**common, "n_queries": spec.queries, "p_init": 0.8, "loss": "margin", "resc_schedule": False}
    others = min(MOST_TARGETS, classes - 1) + 1  # torchattacks aims at n_classes - 1 targets
    ensemble = (
        torchattacks.APGD(victim, loss="ce", **apgd),
        torchattacks.APGDT(victim, n_classes=others, **apgd),
        torchattacks.FAB(victim, multi_targeted=True, n_classes=others, **fab),
        torchattacks.Square(victim, **square),
    )
    return dict(zip(AUTOATTACK_PARTS, ensemble, strict=True))


def check_confined(x: Tensor, x_adv: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Check what an attack returned.

    Args:
        x, x_adv: (B, C, H, W), the images and what became of them; eps: radius of the L-inf ball.

    Returns:
        x_adv with its rounding errors projected away, contiguous, and x itself for every image that was not finite or
        further than 1e-6 outside the ball or [0, 1]; and whether each image was inside, bool (B,).
    """
    delta = x_adv.detach() - x
    outside = torch.maximum(delta.abs() - eps, torch.maximum(-x_adv, x_adv - 1.0))
    inside = (outside <= TOLERANCE).flatten(1).all(dim=1)  # (B,); comparisons with NaN are false
    projected = (x + delta.clamp(-eps, eps)).clamp(0.0, 1.0)
    return torch.where(inside.view(-1, 1, 1, 1), projected, x).contiguous(), inside


def passes(spec: AttackSpec, classes: int) -> float:
    """About how many forward passes an attack costs for an image it cannot break, as measured on one CPU thread.

    A gradient step is about 3, FAB's with its projection and its own forward pass 5.5.
    """
    if isinstance(spec, FgsmParams):
        return 3.0
    if isinstance(spec, PgdParams):
        return 3.0 * spec.steps
    targets = min(MOST_TARGETS, classes - 1)
    return (3.0 + 3.0 * targets + 5.5 * targets) * spec.steps + 1.1 * spec.queries


@contextmanager
def forked_generators() -> Iterator[None]:
    """torch's global generators, of every device that is in use, are afterwards as they were."""
    in_use = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if in_use else ()):
        yield


@contextmanager
def attack_defaults() -> Iterator[None]:
    """Gradients are on and new tensors are float32, as torchattacks takes for granted; afterwards all is as before."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(before)
