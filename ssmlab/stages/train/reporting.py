"""The reports of a training, while it works and at its end: to its listener, its log and its heartbeat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import torch

from ssmlab.artifacts.heartbeat import HeartbeatWriter
from ssmlab.core.blocked_paths import cannot, system_error
from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Listener, Note, Progress
from ssmlab.stages.train.live_record import Record
from ssmlab.training.events import Diverged, EpochDone, StepDone, ValidationStep

MOST_IMAGES = 8  # image numbers in an error; the log has all of them


def report_step(event: StepDone | ValidationStep, heart: HeartbeatWriter, on_event: Listener) -> None:
    """Report a step to the heartbeat and the listener."""
    task = f"epoch {event.epoch}/{event.epochs}"
    if isinstance(event, ValidationStep):
        task += ": validation"
        heart.beat(task=task, eta_seconds=event.eta)
        on_event(Progress(task, event.done, event.total, eta=event.eta))
        return
    heart.beat(
        task=task,
        epoch=event.epoch,
        epochs=event.epochs,
        step=event.step,
        steps=event.steps,
        loss=event.loss,
        clean=event.clean,
        robust=event.robust,
        images_per_second=event.images_per_second,
        eta_seconds=event.eta,
    )
    of_epoch = event.steps // event.epochs
    done = event.step - (event.epoch - 1) * of_epoch
    on_event(Progress(task, done, of_epoch, event.clean, event.robust, event.images_per_second, event.eta))


def epoch_line(event: EpochDone, epochs: int) -> str:
    """An epoch's result in one line."""
    row = event.row
    accuracies = f"clean {row.val_clean:.1%}  robust {row.val_robust:.1%}"
    return f"epoch {row.epoch}/{epochs}  {accuracies}  loss {row.train_loss:.3f}" + ("  best" if event.improved else "")


def logged(on_event: Listener, log: Path) -> Listener:
    """`on_event`, with every note also a line of `log`: local ISO time, message."""

    def log_and_pass_on(event: Event) -> None:
        if isinstance(event, Note):
            with writing(log), log.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {event.text}\n")
        on_event(event)

    return log_and_pass_on


def explain_failure(error: Exception, heart: HeartbeatWriter, run: str, on_event: Listener) -> str | None:
    """Why a training failed, in one line; None for an error that only a developer can fix."""
    if isinstance(error, Diverged):
        line = f"training of run {run} diverged ({error})"
        if error.images:
            rows = [str(image) for image in error.images]
            with suppress(UserError, OSError):
                on_event(Note(f"images of that batch, as rows of the source: {', '.join(rows)}"))
            line += f" on images {', '.join(rows[:MOST_IMAGES])}" + (" ..." if len(rows) > MOST_IMAGES else "")
        return f"{line}; lower its train.optimizer.lr or ssm_lr"
    if isinstance(error, torch.OutOfMemoryError):
        return f"training of run {run}: {heart.heartbeat.device} is out of memory; lower its train.batch_size"
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return system_error(error, run)
    return None


def what_is_kept(run: str, record: Record) -> str:
    """What is unchanged after an early end, and how to continue."""
    if not record.rows:
        return f"no epoch was completed, earlier results are untouched; `ssmlab train {run}` starts again"
    earlier = "its results may be published in part" if record.publishing else "earlier results are untouched"
    return f"{earlier}; `ssmlab train {run}` continues after epoch {len(record.rows)}"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this block an OSError (disk full, no permission) becomes a UserError about `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{cannot(path, 'written', error)}; then start again") from None
