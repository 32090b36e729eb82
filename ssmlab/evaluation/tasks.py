"""Runs attacks as independent tasks, with models and images on one device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.seeds import seed_of
from ssmlab.evaluation.attacks import Survivors, lowest_margins, run_attack
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.borrowed_models import checked_logits, frozen_if_possible, victim_of
from ssmlab.evaluation.checks.run import check_model
from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.token_map import patch_grid
from ssmlab.evaluation.victim import is_right, no_tick
from ssmlab.params import AttackSpec, TokenParams


@dataclass(frozen=True, eq=False)
class AttackInputs:
    """The inputs that all tasks share, in every process.

    Attributes:
        models: the models by name, from images (B, C, H, W) in [0, 1] to logits (B, classes), on `device`.
        x, y: images (N, C, H, W) float32 in [0, 1], and labels (N,) int64, on any device.
        ball: the allowed perturbations.
        seed: the seed of the whole evaluation.
        keep_images: whether outcomes contain the adversarial images.
    """

    models: dict[str, nn.Module]
    x: Tensor
    y: Tensor
    ball: Ball
    seed: int
    device: torch.device
    keep_images: bool = False


@dataclass(frozen=True)
class AttackTask:
    """One phase of one attack on one batch of the inputs.

    Attributes:
        model, attack, spec: names of the model and the attack, and the attack's specification.
        phase: the number of the attack's phase (`AttackKind.phases`).
        images: rows of the inputs, all of which the model classifies correctly.
        classes: number of classes of the model.
        image_shape: (C, H, W).
    """

    model: str
    attack: str
    spec: AttackSpec
    phase: int
    images: tuple[int, ...]
    classes: int
    image_shape: Sequence[int]

    @property
    def passes(self) -> float:
        """The approximate largest cost of the task, in forward passes of one image."""
        spec = self.spec
        positions = math.prod(patch_grid(spec.patch, self.image_shape)) if isinstance(spec, TokenParams) else 1
        return len(self.images) * attack_of(spec).passes(self.classes, self.phase, positions)


@dataclass(frozen=True)
class AttackOutcome:
    """A finished task.

    Attributes:
        right: the rows that are still right.
        after: the number of rows that were still right after each part.
        escaped: number of images that came back outside the ball or [0, 1].
        unstable, queries, losses, rights: as in `Survivors`.
        margins: the lowest margin of each row that is still right, if the next phase needs it.
        distances: the distance of each row of the task, if the attack searches distances.
        broken_at: number of images broken at each position, if the attack tries all positions.
        x_adv: (B, C, H, W) on the CPU, as in `Survivors`, if images are kept.
    """

    task: AttackTask
    right: tuple[int, ...]
    after: dict[str, int]
    escaped: int
    unstable: int
    queries: int
    losses: tuple[float, ...] = ()
    rights: tuple[int, ...] = ()
    margins: tuple[float, ...] = ()
    distances: tuple[float, ...] = ()
    broken_at: tuple[int, ...] = ()
    x_adv: Tensor | None = None


@dataclass(frozen=True)
class Clean:
    """A model's results without an attack.

    Attributes:
        right: (N,) bool, whether each image is classified correctly.
        classes: number of classes.
        not_finite: number of images whose logits are not finite.
        image_shape: (C, H, W).
    """

    right: Tensor
    classes: int
    not_finite: int
    image_shape: Sequence[int]


class AttackRunner:
    """Runs tasks one after the other.

    Every model is frozen once if it has a method `freeze()`. The models themselves are set to eval mode, and their
    parameters get no gradients; `modules_restored` undoes this. An attack must not leave gradients in the models (FAB
    calls backward), and computing gradients that nobody needs would cost time.

    Args:
        tick: a function that is called before every forward pass.
    """

    def __init__(self, inputs: AttackInputs, tick: Callable[[], None] = no_tick) -> None:
        self.x, self.y = inputs.x.to(inputs.device), inputs.y.to(inputs.device)
        self.ball, self.seed, self.keep_images = inputs.ball, inputs.seed, inputs.keep_images
        self.victims = {
            name: victim_of(frozen_if_possible(model), self.x[:1], tick) for name, model in inputs.models.items()
        }

    @torch.no_grad()
    def clean(self, model: str, batch_size: int) -> Clean:
        """Classify every clean image.

        Raises:
            UserError: the model does not return logits (B, classes), or a label is not one of its classes.
        """
        starts = range(0, len(self.x), batch_size)
        logits = torch.cat([self.logits(model, self.x[start : start + batch_size]) for start in starts])  # (N, classes)
        highest, classes = int(self.y.max()), logits.shape[1]
        if highest >= classes:
            raise UserError(f"y contains label {highest}, but the model has {classes} classes (0 to {classes - 1})")
        not_finite = int((~logits.isfinite().all(dim=1)).sum())
        return Clean(is_right(logits, self.y).cpu(), classes, not_finite, tuple(self.x.shape[1:]))

    def check(self, model: str, live: nn.Module, classes: int, binarisation: int = 0) -> tuple[Check, ...]:
        """Check whether this model's numbers can be trusted; the arguments are those of `check_model`."""
        return check_model(self.victims[model], live, self.x, self.y, self.ball, classes, self.seed, binarisation)

    def logits(self, model: str, x: Tensor) -> Tensor:
        """The logits (B, classes) of a model for images x (B, C, H, W), with the checks of `checked_logits`."""
        return checked_logits(self.victims[model], x)

    def run(self, task: AttackTask) -> AttackOutcome:
        """Run a task: attack a batch and count the results."""
        rows = torch.tensor(task.images, device=self.x.device)
        victim, found = self.victims[task.model], self.attack(task)
        left = rows[found.right]
        margins: tuple[float, ...] = ()
        if len(left) and attack_of(task.spec).screens_after(task.phase):
            margins = tuple(lowest_margins(victim, self.x[left], self.y[left], self.ball).tolist())
        return AttackOutcome(
            task=task,
            right=tuple(left.tolist()),
            after=found.after,
            escaped=found.escaped,
            unstable=found.unstable,
            queries=found.queries,
            losses=found.losses,
            rights=found.rights,
            margins=margins,
            distances=() if found.distances is None else tuple(found.distances.tolist()),
            broken_at=() if found.broken_at is None else tuple(found.broken_at.tolist()),
            x_adv=found.x_adv.cpu() if self.keep_images else None,
        )

    def attack(self, task: AttackTask) -> Survivors:
        """Attack a batch. Every evaluation with this seed attacks an image in the same way."""
        rows = torch.tensor(task.images, device=self.x.device)
        # All attacks and batches share one seed. The random numbers still differ by image, and equal parts of two
        # attacks draw equal numbers for an image, so a longer attack never breaks less than a shorter one.
        seed = seed_of(self.seed, "attacks")
        victim = self.victims[task.model]
        return run_attack(task.spec, victim, self.x[rows], self.y[rows], self.ball, task.classes, seed, task.phase)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Inside the block, each operation on the CPU uses one thread, so results do not depend on the number of threads.

    Attacks on small models gain nothing from a second thread, but everything from a second process.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
