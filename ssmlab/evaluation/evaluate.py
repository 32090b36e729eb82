"""Evaluation of models under attack: from images and attacks to per-image results, in one process or several."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.evaluation.adversarials import AdversarialFolder
from ssmlab.evaluation.attack_names import chosen_attacks
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.borrowed_models import modules_restored
from ssmlab.evaluation.collect import AttackProgress, collect_evaluation
from ssmlab.evaluation.inputs import prepared_images, prepared_labels, prepared_model
from ssmlab.evaluation.journal import OutcomeJournal
from ssmlab.evaluation.plan import check_ball, check_images_asked, check_sides
from ssmlab.evaluation.results import Evaluation
from ssmlab.evaluation.schedule import Plan, Schedule
from ssmlab.evaluation.tasks import AttackInputs, AttackOutcome, AttackRunner, AttackTask, one_thread
from ssmlab.evaluation.token_attack import searched_ball
from ssmlab.evaluation.worker import worker
from ssmlab.params import AttackSpec, Norm
from ssmlab.params.written_float import WrittenFloat
from ssmlab.system.cores import cores
from ssmlab.system.workers import NoPool, run_in_processes

POOL_PAYS = 10.0  # seconds of attacking that are expected before worker processes, which take some four to start, pay


@torch.inference_mode(False)  # tensors made in inference mode cannot be attacked
def evaluate(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    attacks: Iterable[str] | Mapping[str, AttackSpec] = ("fgsm", "pgd-10", "autoattack"),
    eps: float = 8 / 255,
    *,
    norm: Norm = "linf",
    batch_size: int = 50,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    workers: int | None = 1,
    binarisation: int = 0,
    save_adversarials: AdversarialFolder | None = None,
    on_event: Listener = silence,
) -> Evaluation:
    """Measure a model's accuracy on clean and on attacked images.

    An image is right under an attack if the model has it right when clean and also after the attack, by a forward pass
    of our own on a point that was checked to lie in [0, 1] and in the ball. Results depend on `seed`. The number of
    workers changes nothing; `batch_size` and the order of the images only what a model's rounding makes of them.

    Args:
        model: any module or function from images in [0, 1] to logits (N, classes); it is left in the state it is in.
            A model with a method `freeze()`, as ssmlab's have, is attacked through that.
        x: images (N, C, H, W) in [0, 1], a tensor or array of floats, attacked in float32; y: labels (N,), integers.
            Both are copied first, so that no model can change them.
        attacks: names ("fgsm", "pgd-N" with N steps of 2.5 eps / N from a random start, as in Madry et al. 2018,
            "autoattack": the standard ensemble; "screened-autoattack": the same, but FAB-T and Square only on the 100
            survivors of lowest margin; "apgd-ce", "apgd-dlr" and "square" alone; "fmn": the smallest distance of each
            image; "token-K": one patch of K x K pixels may take any values, "token-map-K" says where that breaks an
            image), or specifications by name, whose `checkpoints` play no part here.
        eps: radius of the ball in [0, 1] pixel units. Refused is more than the distance between two images can be (1
            in L-inf, the root of C H W in L2); more than half of that gets a warning.
        norm: "linf" or "l2"; how the distance of an image to what the attack makes of it is measured. FGSM in L2 is
            one step of length eps along the gradient.
        device: "auto" is where the model is; another device gets a copy of the model.
        workers: processes on the CPU, each with one thread; None takes as many as there are cores, if that pays. More
            than one imports the calling script again, which therefore needs `if __name__ == "__main__":`.
        binarisation: on how many images the binarisation test of the checks is made; its model ends in a linear layer.
        save_adversarials: where the images that the attacks make go, a file an attack; nowhere if it is left out.
        on_event: gets a `Progress` about once a second, and a `Note` for every warning.

    Raises:
        UserError: an argument is not as described; the message says which.
    """
    model = prepared_model(model)
    x = prepared_images(x)
    y = prepared_labels(y, len(x))
    try:
        radius = eps if isinstance(eps, WrittenFloat) else WrittenFloat(eps)
    except ValueError as error:
        raise UserError(f"eps: {error}") from None
    check_ball(radius, norm, x.shape[1:])
    here = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), x.device)
    there = chosen_device(device, here)
    return evaluate_models(
        {"model": model if there == here else copy.deepcopy(model).to(there)},
        x,
        y,
        {"model": chosen_attacks(attacks, radius)},
        radius,
        norm=norm,
        batch_size=batch_size,
        seed=seed,
        device=there,
        workers=workers,
        on_event=on_event,
        binarisation=binarisation,
        save_adversarials=save_adversarials,
    )["model"]


def evaluate_models(
    models: Mapping[str, nn.Module],
    x: Tensor,
    y: Tensor,
    plan: Plan,
    eps: WrittenFloat,
    *,
    norm: Norm = "linf",
    batch_size: int,
    seed: int,
    device: torch.device,
    workers: int | None = None,
    on_event: Listener = silence,
    journal: OutcomeJournal | None = None,
    binarisation: int = 0,
    save_adversarials: AdversarialFolder | None = None,
) -> dict[str, Evaluation]:
    """`evaluate` for several models at once, so that their attacks share one set of workers.

    Args:
        models: by name, on `device`, the CPU or a GPU; plan: for each of them the attacks by name.
        binarisation: on how many images the binarisation test is made (docs/evaluation.md).
        journal: keeps outcomes; those that it has from a run that was killed are not computed again.
        save_adversarials: of one model only, and without a journal, which keeps no images.

    Raises:
        UserError: as `evaluate`, or the journal cannot be written.
    """
    check_settings(plan, len(x), batch_size, workers)
    check_ball(eps, norm, x.shape[1:])
    for attacks in plan.values():
        check_sides(attacks, norm, x.shape[1:], "attacks: ")
    inputs = AttackInputs(dict(models), x, y, Ball(float(eps), norm), seed, device, save_adversarials is not None)
    if save_adversarials:
        save_adversarials.check_names(name for attacks in plan.values() for name in attacks)
    progress: AttackProgress | None = None

    def tick() -> None:
        if progress:
            progress.tick()

    with modules_restored(models.values()), one_thread(device):
        runner = AttackRunner(inputs, tick)
        began = time.monotonic()
        clean = {name: runner.clean(name, batch_size) for name in models}
        seconds_a_pass = (time.monotonic() - began) / (len(models) * len(x))  # of one image
        schedule = Schedule(plan, clean, batch_size)
        checks = {name: runner.check(name, model, clean[name].classes, binarisation) for name, model in models.items()}
        tasks = unknown_tasks(schedule.first_tasks(), schedule, journal)
        seconds = seconds_a_pass * schedule.passes_left
        count = min(workers or useful_workers(device, seconds), len(tasks))
        progress = AttackProgress(on_event, schedule, seconds / max(count, 1))
        run_attacks(runner, inputs, tasks, schedule, progress, journal, count)
    outcomes = {name: {attack: schedule.outcomes[name, attack] for attack in plan[name]} for name in models}
    found = {name: collect_evaluation(clean[name], plan[name], outcomes[name], checks[name], eps) for name in models}
    if save_adversarials:
        for name, evaluation in found.items():
            for attack, each in outcomes[name].items():
                ball = searched_ball(plan[name][attack], inputs.ball)
                save_adversarials.write(attack, x, y, evaluation.measures[attack].flags, each, ball)
    return found


def unknown_tasks(tasks: Iterable[AttackTask], schedule: Schedule, journal: OutcomeJournal | None) -> list[AttackTask]:
    """The tasks that must be run: those among `tasks`, and among what follows from them, that the journal has not."""
    unknown, waiting = [], deque(tasks)
    while waiting:
        task = waiting.popleft()
        outcome = journal.outcome(task) if journal else None
        if outcome is None:
            unknown.append(task)
        else:
            waiting.extend(schedule.done(outcome))
    return unknown


def run_attacks(
    runner: AttackRunner,
    inputs: AttackInputs,
    tasks: Iterable[AttackTask],
    schedule: Schedule,
    progress: AttackProgress,
    journal: OutcomeJournal | None,
    count: int,
) -> None:
    """Carry out the tasks and what follows from them: on `count` processes or, if that is 1 or cannot be, here."""

    def collect(outcome: AttackOutcome) -> list[AttackTask]:
        following = schedule.done(outcome)
        if journal:
            journal.write(outcome)
        progress.task_done()
        return unknown_tasks(following, schedule, journal)

    waiting = deque(tasks)
    if count > 1:
        remedy = "try again with workers=1"
        try:
            run_in_processes(worker, inputs, waiting, count, collect, remedy=remedy, tick=progress.tick)
            return
        except NoPool as error:
            progress.listener(Note(f"no worker processes ({error}); attacking in this one, slower", warning=True))
    while waiting:
        waiting.extend(collect(runner.run(waiting.popleft())))


def useful_workers(device: torch.device, seconds: float) -> int:
    """How many processes to use for work that is expected to take `seconds` in one."""
    if device.type != "cpu" or seconds < POOL_PAYS:
        return 1
    return cores()


def chosen_device(device: str, here: torch.device) -> torch.device:
    """The device to attack on; raises UserError where it is not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device must be auto, cpu or cuda; it is {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: there is no CUDA device; use cpu or auto")
    return here if device in ("auto", here.type) else torch.device(device)


def check_settings(plan: Plan, n: int, batch_size: int, workers: int | None) -> None:
    """Raises UserError for settings that make no sense for `n` images."""
    if batch_size < 1 or (workers is not None and workers < 1):
        raise UserError(f"batch_size and workers must be at least 1; they are {batch_size} and {workers}")
    for name, spec in ((name, spec) for attacks in plan.values() for name, spec in attacks.items()):
        if name == "clean":
            raise UserError("attacks: no attack can be named 'clean': that is the accuracy without one")
        check_images_asked(name, spec, n, "attacks: ")
