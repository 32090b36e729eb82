"""Evaluation of models under attack: from images and attacks to per-image results, in one process or several."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.evaluation.attacks import require_classes
from ssmlab.evaluation.collect import AttackProgress, collect_evaluation
from ssmlab.evaluation.results import Evaluation
from ssmlab.evaluation.tasks import (
    AttackInputs,
    AttackOutcome,
    AttackRunner,
    AttackTask,
    Clean,
    modules_restored,
    one_thread,
)
from ssmlab.evaluation.worker import worker
from ssmlab.params import AttackSpec, AutoAttackParams, FgsmParams, PgdParams
from ssmlab.params.quantity import Quantity
from ssmlab.system.workers import NoPool, cores, run_in_processes

POOL_PAYS = 10.0  # seconds of attacking that are expected before worker processes, which take some four to start, pay
Plan = Mapping[str, Mapping[str, AttackSpec]]


def evaluate(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attacks: Iterable[str] | Mapping[str, AttackSpec] = ("fgsm", "pgd-10", "autoattack"),
    eps: float = 8 / 255,
    *,
    batch_size: int = 50,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = 1,
    on_event: Listener = silence,
) -> Evaluation:
    """Measure a model's accuracy on clean and on attacked images.

    An image is right under an attack if the model has it right when clean and also after the attack, by a forward pass
    of our own on a point that was checked to lie in [0, 1] and in the ball. Results depend on `batch_size` and `seed`,
    and not on the number of workers.

    Args:
        model: any module from images in [0, 1] to logits (N, classes); it is left in the state it is in. A model with
            a method `freeze()`, as ssmlab's have, is attacked through that.
        x: images (N, C, H, W) float32 in [0, 1]; y: labels (N,) int64.
        attacks: names ("fgsm", "pgd-N" with N steps of 2.5 eps / N from a random start, as in Madry et al. 2018,
            "autoattack": the standard ensemble), or specifications by name, whose `checkpoints` play no part here.
        eps: radius of the L-inf ball in pixel units.
        device: "auto" is where the model is; another device gets a copy of the model.
        workers: processes on the CPU, each with one thread; None takes as many as there are cores, if that pays. More
            than one imports the calling script again, which therefore needs `if __name__ == "__main__":`.
        on_event: gets a `Progress` about once a second, and a `Note` for every warning.

    Raises:
        UserError: an argument is not as described; the message says which.
    """
    check_images(x, y)
    try:
        radius = eps if isinstance(eps, Quantity) else Quantity(eps)
    except ValueError as error:
        raise UserError(f"eps: {error}") from None
    if isinstance(attacks, Mapping):
        chosen = dict(attacks)
    else:
        chosen = {name: parse_attack(name, radius) for name in ([attacks] if isinstance(attacks, str) else attacks)}
    here = next((parameter.device for parameter in model.parameters()), x.device)
    there = here if device == "auto" or device == here.type else torch.device(device)
    subject = model if there == here else copy.deepcopy(model).to(there)
    return evaluate_models(
        {"model": subject},
        x,
        y,
        {"model": chosen},
        radius,
        batch_size=batch_size,
        seed=seed,
        device=there,
        workers=workers,
        on_event=on_event,
    )["model"]


def evaluate_models(
    models: Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
    plan: Plan,
    eps: Quantity,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    workers: int | None = None,
    on_event: Listener = silence,
) -> dict[str, Evaluation]:
    """`evaluate` for several models at once, so that their attacks share one set of workers.

    Args:
        models: by name, on `device`, the CPU or a GPU; plan: for each of them the attacks by name.

    Raises:
        UserError: as `evaluate`.
    """
    check_settings(plan, len(x), eps, batch_size, workers)
    inputs = AttackInputs(dict(models), x, y, float(eps), seed, device)
    outcomes: dict[str, dict[tuple[str, int], AttackOutcome]] = {name: {} for name in models}
    progress: AttackProgress | None = None

    def tick() -> None:
        if progress:
            progress.tick()

    def collect(outcome: AttackOutcome) -> None:
        outcomes[outcome.task.model][outcome.task.attack, outcome.task.batch] = outcome
        if progress:
            progress.finished(outcome.task)

    with modules_restored(models.values()), one_thread(device):
        runner = AttackRunner(inputs, tick)
        began = time.monotonic()
        clean = {name: runner.clean(name, batch_size) for name in models}
        seconds_a_pass = (time.monotonic() - began) / (len(models) * len(x))  # of one image
        tasks = plan_tasks(plan, clean, batch_size)
        seconds = seconds_a_pass * sum(task.passes for task in tasks)
        count = min(workers or useful_workers(device, seconds), len(tasks))
        progress = AttackProgress(on_event, tasks, seconds / max(count, 1))
        if count > 1:
            try:
                run_in_processes(worker, inputs, tasks, count, collect, remedy="try again with workers=1", tick=tick)
                tasks = []
            except NoPool as error:
                on_event(Note(f"no worker processes ({error}); attacking in this one, slower", warning=True))
                progress = AttackProgress(on_event, tasks, seconds)
        for task in tasks:
            collect(runner.run(task))
    return {name: collect_evaluation(clean[name], plan[name], outcomes[name]) for name in models}


def plan_tasks(plan: Plan, clean: Mapping[str, Clean], batch_size: int) -> list[AttackTask]:
    """A task for every attack and batch, with the images that are right when clean; those that take longest first.

    Raises:
        UserError: an attack is not defined for a model with so few classes.
    """
    tasks = []
    for model, attacks in plan.items():
        for name, spec in attacks.items():
            require_classes(name, spec, clean[model].classes)
            right = clean[model].right[: None if spec.images == "all" else spec.images]
            for batch, start in enumerate(range(0, len(right), batch_size)):
                rows = tuple((start + right[start : start + batch_size].nonzero().flatten()).tolist())
                if rows:
                    tasks.append(AttackTask(model, name, spec, batch, rows, clean[model].classes))
    return sorted(tasks, key=lambda task: task.passes, reverse=True)


def useful_workers(device: torch.device, seconds: float) -> int:
    """How many processes to use for work that is expected to take `seconds` in one."""
    if device.type != "cpu" or seconds < POOL_PAYS:
        return 1
    return cores()


def parse_attack(name: str, eps: float) -> AttackSpec:
    """The attack behind a name, on all images: "fgsm", "pgd-N" or "autoattack". Raises UserError for any other."""
    everything: dict[str, Any] = {"images": "all", "checkpoints": ("best", "last")}
    if name == "fgsm":
        return FgsmParams(kind="fgsm", **everything)
    if name == "autoattack":
        return AutoAttackParams(kind="autoattack", steps=100, queries=5000, **everything)
    match = re.fullmatch(r"pgd-([1-9][0-9]*)", name)
    if match is None:
        raise UserError(f"attacks: no attack is called '{name}'; there are fgsm, pgd-N (such as pgd-10) and autoattack")
    steps = int(match[1])
    return PgdParams(kind="pgd", alpha=Quantity(2.5 * eps / steps), steps=steps, random_start=True, **everything)


def check_images(x: Tensor, y: Tensor) -> None:
    """Raises UserError unless x is (N, C, H, W) float32 in [0, 1] and y (N,) int64, at least 0; N at least 1."""
    for name, value, dtype, axes in (("x", x, torch.float32, 4), ("y", y, torch.int64, 1)):
        if not isinstance(value, Tensor) or value.dtype != dtype or value.ndim != axes or len(value) == 0:
            given = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            shape = "images (N, C, H, W)" if name == "x" else "labels (N,)"
            raise UserError(f"{name} must be a tensor of {shape}, {dtype}, with N at least 1; it is {given}")
    if len(x) != len(y):
        raise UserError(f"x and y must be as many; there are {len(x)} images and {len(y)} labels")
    low, high = x.aminmax()
    if not (low >= 0.0 and high <= 1.0):
        raise UserError(f"x must be in [0, 1]; it goes from {low:.3g} to {high:.3g}: divide 8-bit images by 255")
    if y.min() < 0:
        raise UserError(f"y must hold class numbers from 0 on; it holds {int(y.min())}")


def check_settings(plan: Plan, n: int, eps: float, batch_size: int, workers: int | None) -> None:
    """Raises UserError for settings that make no sense for `n` images."""
    if not eps >= 0.0:
        raise UserError(f"eps must be at least 0; it is {eps}")
    if batch_size < 1 or (workers is not None and workers < 1):
        raise UserError(f"batch_size and workers must be at least 1; they are {batch_size} and {workers}")
    for name, spec in ((name, spec) for attacks in plan.values() for name, spec in attacks.items()):
        if name == "clean":
            raise UserError("attacks: no attack can be named 'clean': that is the accuracy without one")
        if spec.images != "all" and spec.images > n:
            raise UserError(f"attacks: {name} asks for {spec.images} images, and there are {n}; ask for fewer or `all`")
