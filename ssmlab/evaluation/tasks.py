"""Where attacks are carried out: models and images on one device, and tasks that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.seeds import seed_of
from ssmlab.evaluation.attacks import Survivors, lowest_margins, run_attack
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.checks.run import check_model
from ssmlab.evaluation.parts import passes, screens_after
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.victim import Victim, is_right, no_tick
from ssmlab.params import AttackSpec

# What a model raises for images or dtypes that it is not made for. Anything else is an error of ours or of the user's.
MODEL_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError, AssertionError)


@dataclass(frozen=True, eq=False)
class AttackInputs:
    """All that tasks share, whichever process they run in.

    Attributes:
        models: by name, from images (B, C, H, W) in [0, 1] to logits (B, classes), on `device`.
        x, y: (N, C, H, W) float32 in [0, 1] and (N,) int64, on any device.
        ball: that attacks search; seed: of the whole evaluation.
        keep_images: whether outcomes hold the images that attacks make.
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
        model, attack, spec: which attack on which model.
        phase: which of the attack's phases (`parts.phases`).
        images: rows of the inputs, all of which the model has right.
        classes: of the model.
    """

    model: str
    attack: str
    spec: AttackSpec
    phase: int
    images: tuple[int, ...]
    classes: int

    @property
    def passes(self) -> float:
        """About how many forward passes of one image the task costs, at most."""
        return len(self.images) * passes(self.spec, self.classes, self.phase)


@dataclass(frozen=True)
class AttackOutcome:
    """A finished task.

    Attributes:
        right: the rows that are still right.
        after: how many were after each part.
        escaped: how many images came back outside the ball or [0, 1].
        unstable, queries, losses: as those of `Survivors`.
        margins: of each row that is still right the lowest margin that was met, where the next phase asks for it.
        distances: of each of the task's rows, of an attack that looks for them.
        x_adv: (B, C, H, W) on the CPU, as that of `Survivors`, where images are kept.
    """

    task: AttackTask
    right: tuple[int, ...]
    after: dict[str, int]
    escaped: int
    unstable: int
    queries: int
    losses: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()
    distances: tuple[float, ...] = ()
    x_adv: Tensor | None = None


@dataclass(frozen=True)
class Clean:
    """A model without attack: (N,) bool, whether each image is right; number of classes; images without an answer."""

    right: Tensor
    classes: int
    not_finite: int


class AttackRunner:
    """Carries out tasks, one after the other.

    Every model is frozen once if it can be (`model.freeze()`). The models themselves are put in eval mode and their
    parameters no longer ask for gradients; `modules_restored` undoes that. An attack must not leave gradients behind in
    them (FAB calls backward), nor pay for gradients that nobody reads.

    Args:
        tick: called before every forward pass.
    """

    def __init__(self, inputs: AttackInputs, tick: Callable[[], None] = no_tick) -> None:
        self.x, self.y = inputs.x.to(inputs.device), inputs.y.to(inputs.device)
        self.ball, self.seed, self.keep_images = inputs.ball, inputs.seed, inputs.keep_images
        self.victims = {
            name: victim_of(frozen_if_possible(model), self.x[:1], tick) for name, model in inputs.models.items()
        }

    @torch.no_grad()
    def clean(self, model: str, batch_size: int) -> Clean:
        """Ask a model about every image.

        Raises:
            UserError: the model does not return logits (B, classes), or there are labels beyond its classes.
        """
        starts = range(0, len(self.x), batch_size)
        logits = torch.cat([self.logits(model, self.x[start : start + batch_size]) for start in starts])  # (N, classes)
        highest, classes = int(self.y.max()), logits.shape[1]
        if highest >= classes:
            raise UserError(f"y holds label {highest}, and the model has {classes} classes (0 to {classes - 1})")
        not_finite = int((~logits.isfinite().all(dim=1)).sum())
        return Clean(is_right(logits, self.y).cpu(), classes, not_finite)

    def check(self, model: str, live: nn.Module, classes: int, binarisation: int = 0) -> tuple[Check, ...]:
        """What speaks against taking this model's numbers at face value; the arguments are those of `check_model`."""
        return check_model(self.victims[model], live, self.x, self.y, self.ball, classes, self.seed, binarisation)

    def logits(self, model: str, x: Tensor) -> Tensor:
        """Logits (B, classes), checked to be that."""
        try:
            logits: Tensor = self.victims[model](x)
        except MODEL_ERRORS as error:
            raise UserError(cannot_run(x, error)) from error
        check_logits(logits, len(x))
        return logits

    def run(self, task: AttackTask) -> AttackOutcome:
        """Attack a batch, and count."""
        rows = torch.tensor(task.images, device=self.x.device)
        victim, found = self.victims[task.model], self.attack(task)
        left = rows[found.right]
        margins: tuple[float, ...] = ()
        if len(left) and screens_after(task.spec, task.phase):
            margins = tuple(lowest_margins(victim, self.x[left], self.y[left], self.ball).tolist())
        distances = () if found.distances is None else tuple(found.distances.tolist())
        counts = (found.after, found.escaped, found.unstable, found.queries)
        x_adv = found.x_adv.cpu() if self.keep_images else None
        return AttackOutcome(task, tuple(left.tolist()), *counts, found.losses, margins, distances, x_adv)

    def attack(self, task: AttackTask) -> Survivors:
        """Attack a batch; an image is attacked alike in every evaluation with this seed."""
        rows = torch.tensor(task.images, device=self.x.device)
        # One seed for all attacks and batches: what is drawn differs by image, and the same part of two attacks draws
        # the same for an image, so that more of an attack never breaks less.
        seed = seed_of(self.seed, "attacks")
        victim = self.victims[task.model]
        return run_attack(task.spec, victim, self.x[rows], self.y[rows], self.ball, task.classes, seed, task.phase)


def victim_of(model: nn.Module, image: Tensor, tick: Callable[[], None]) -> Victim:
    """The model as the attacks see it, in the dtype that it takes: float32, or else that of its parameters.

    Args:
        image: one image (1, C, H, W), to try it on.

    Raises:
        UserError: it takes no such images, or does not return logits.
    """
    tensors = (*model.parameters(), *model.buffers())
    own = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)
    failure: Exception | None = None
    for dtype in dict.fromkeys((torch.float32, own)):
        try:
            with torch.no_grad():
                logits = model(image.to(dtype, copy=True))
        except MODEL_ERRORS as error:
            failure = failure or error
        else:
            check_logits(logits, 1)
            return Victim(model, image.device, tick, dtype).requires_grad_(False)
    assert failure is not None
    raise UserError(cannot_run(image, failure)) from failure


def check_logits(logits: object, images: int) -> None:
    """Raises UserError unless they are logits (images, classes) of two classes or more."""
    if isinstance(logits, Tensor) and logits.is_floating_point() and logits.ndim == 2:
        if logits.shape[0] == images and logits.shape[1] > 1:
            return
        given = str(tuple(logits.shape))
    elif isinstance(logits, Tensor):
        given = f"{logits.dtype} {tuple(logits.shape)}"
    elif isinstance(logits, (tuple, list)):
        given = f"a {type(logits).__name__} of {len(logits)}; take the logits out of it in a function of your own"
    else:
        given = type(logits).__name__
    raise UserError(f"the model must return logits ({images}, classes) for {images} images; it gave {given}")


def cannot_run(x: Tensor, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"the model cannot be run on images {tuple(x.shape[1:])}: {reason}"


def frozen_if_possible(model: nn.Module) -> nn.Module:
    """The model frozen, where it knows how to be; else itself. Foreign methods of that name may return nothing."""
    freeze = getattr(model.eval(), "freeze", None)
    frozen = freeze() if callable(freeze) else None
    return frozen if isinstance(frozen, nn.Module) else model


@contextmanager
def modules_restored(models: Iterable[nn.Module]) -> Iterator[None]:
    """Afterwards every module is in the mode it was in, and every parameter asks for gradients if it did."""
    models = list(models)
    modes = [(module, module.training) for model in models for module in model.modules()]
    wants = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, wanted in wants:
            parameter.requires_grad_(wanted)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """One thread an operation on the CPU, so that results do not depend on how many there are; afterwards as before.

    Attacks on small models gain nothing from a second thread, but everything from a second process.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
