"""Runs the attacks on several models, in this process or in worker processes, and collects their outcomes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ssmlab.core.events import Listener, Note
from ssmlab.evaluation.borrowed_models import modules_restored
from ssmlab.evaluation.collect import AttackProgress
from ssmlab.evaluation.journal import OutcomeJournal
from ssmlab.evaluation.results import Check
from ssmlab.evaluation.schedule import Plan, Schedule
from ssmlab.evaluation.tasks import AttackInputs, AttackOutcome, AttackRunner, AttackTask, Clean, one_thread
from ssmlab.evaluation.worker import worker
from ssmlab.system.cores import cores
from ssmlab.system.workers import NoPool, run_in_processes

POOL_PAYS = 10.0  # seconds of expected work from which worker processes pay; they need about four seconds to start


@dataclass(frozen=True, eq=False)
class AttackedModels:
    """The results of the attacks on several models.

    Attributes:
        clean, checks: results without an attack, and checks, by model name.
        outcomes: the outcomes by model name and attack name.
    """

    clean: Mapping[str, Clean]
    checks: Mapping[str, tuple[Check, ...]]
    outcomes: Mapping[str, Mapping[str, Sequence[AttackOutcome]]]


def attack_models(
    inputs: AttackInputs,
    plan: Plan,
    batch_size: int,
    workers: int | None,
    binarisation: int,
    journal: OutcomeJournal | None,
    on_event: Listener,
) -> AttackedModels:
    """Run the planned attacks on the models of `inputs`; arguments as in `evaluate_models`."""
    progress: AttackProgress | None = None

    def tick() -> None:
        if progress:
            progress.tick()

    models = inputs.models
    with modules_restored(models.values()), one_thread(inputs.device):
        runner = AttackRunner(inputs, tick)
        began = time.monotonic()
        clean = {name: runner.clean(name, batch_size) for name in models}
        seconds_per_pass = (time.monotonic() - began) / (len(models) * len(inputs.x))  # for one image
        schedule = Schedule(plan, clean, batch_size)
        checks = {name: runner.check(name, model, clean[name].classes, binarisation) for name, model in models.items()}
        tasks = unknown_tasks(schedule.first_tasks(), schedule, journal)
        seconds = seconds_per_pass * schedule.passes_left
        count = min(workers or useful_workers(inputs.device, seconds), len(tasks))
        progress = AttackProgress(on_event, schedule, seconds / max(count, 1))
        run_attacks(runner, inputs, tasks, schedule, progress, journal, count)
    outcomes = {name: {attack: schedule.outcomes[name, attack] for attack in plan[name]} for name in models}
    return AttackedModels(clean, checks, outcomes)


def unknown_tasks(tasks: Iterable[AttackTask], schedule: Schedule, journal: OutcomeJournal | None) -> list[AttackTask]:
    """The tasks that must be run: those of `tasks`, and of the tasks after them, that the journal does not have."""
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
    """Run the tasks and the tasks that follow them, in `count` processes, or in this one if that is not possible."""

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
            progress.listener(Note(f"no worker processes ({error}); attacking in this process, slower", warning=True))
    while waiting:
        waiting.extend(collect(runner.run(waiting.popleft())))


def useful_workers(device: torch.device, seconds: float) -> int:
    """How many processes to use for work that is expected to take `seconds` in one process."""
    if device.type != "cpu" or seconds < POOL_PAYS:
        return 1
    return cores()
