"""The stage `train`: one run from the prepared data to its checkpoints, its progress visible in files all the while."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import torch

from ssmlab.checkpoint import save
from ssmlab.data.prepared import Dataset, load_dataset
from ssmlab.errors import Interrupted, UserError
from ssmlab.events import Event, Listener, Note, Progress, silence
from ssmlab.files import write_atomic
from ssmlab.heartbeat import HeartbeatWriter, Stored
from ssmlab.history import HistoryWriter, Row
from ssmlab.metadata import Metadata
from ssmlab.nets.build import build
from ssmlab.params import Params, Which
from ssmlab.pipeline.paths import Paths
from ssmlab.training.device import resolve_device
from ssmlab.training.events import Diverged, EpochDone, StepDone, ValidationStep
from ssmlab.training.loop import fit
from ssmlab.version import __version__

PUBLISHED = ("best.safetensors", "last.safetensors", "history.csv")
LIVE = (*PUBLISHED, "progress.json", "log.txt")


def train(params: Params, run: str, paths: Paths, device: str | None = None, listen: Listener = silence) -> None:
    """Train `run` of the study and publish best.safetensors, last.safetensors and history.csv in `paths.model(run)`.

    While it works, `paths.live(run)` holds the same files as they stand, log.txt, and the heartbeat progress.json; what
    an earlier training left there goes first. `device` overrides the run's own setting.

    Raises:
        UserError: unknown run or device, no prepared data, the run is being trained already, the training diverged, or
            the disk is full. What was published before is untouched.
        Interrupted: KeyboardInterrupt, which the CLI raises on Ctrl-C and SIGTERM; likewise.
    """
    settings = params.run(run)
    where = resolve_device(device or settings.train.device)
    dataset = load_dataset(paths.prepared)
    live = paths.live(run)

    with sole_trainer(live / "lock", run):
        for name in LIVE:
            (live / name).unlink(missing_ok=True)
        history = HistoryWriter(live / "history.csv")
        heart = HeartbeatWriter(live / "progress.json", stage="train", study=params.study, run=run, device=where.type)
        tell = logged(listen, live / "log.txt")

        with end_written_down(heart, tell, run), seeded(settings.train.seed):
            model = build(settings.model, dataset.image_shape, dataset.classes, settings.train.seed).to(where)
            tell(Note(f"training {run}: {settings.train.passes} epochs of {len(dataset.train)} images on {where.type}"))
            for event in fit(model, dataset, settings.train, where):
                if isinstance(event, EpochDone):
                    for which in kept(event):
                        about = metadata(params, run, dataset, event.row, which)
                        save(live / f"{which}.safetensors", event.model, about)
                    history.append(event.row)
                    heart.beat(clean=event.row.val_clean, robust=event.row.val_robust)
                    tell(Note(epoch_line(event, settings.train.passes)))
                else:
                    follow(event, heart, tell)
            if heart.heartbeat.epoch < settings.train.passes:
                tell(Note(f"stopped early: nothing better in {settings.train.patience} epochs (`train.patience`)"))
            for name in PUBLISHED:
                write_atomic(paths.model(run) / name, (live / name).read_bytes())
            tell(Note(f"{paths.model(run)}: {', '.join(PUBLISHED)} are written"))


def kept(event: EpochDone) -> tuple[Which, ...]:
    """The checkpoints that an epoch replaces."""
    return ("best", "last") if event.improved else ("last",)


def metadata(params: Params, run: str, dataset: Dataset, row: Row, which: Which) -> Metadata:
    """What a checkpoint of `run` says of itself after the epoch of `row`."""
    settings = params.run(run)
    return Metadata(
        study=params.study,
        run=run,
        which=which,
        epoch=row.epoch,
        model=settings.model,
        train=settings.train,
        image_shape=dataset.image_shape,
        classes=dataset.classes,
        val_clean=row.val_clean,
        val_robust=row.val_robust,
        selection_split=settings.train.selection.split,
        data_name=dataset.name,
        data_fingerprint=dataset.fingerprint,
        params_fingerprint=settings.fingerprint(),
        code_version=__version__,
    )


def follow(event: StepDone | ValidationStep, heart: HeartbeatWriter, tell: Listener) -> None:
    """Carry a step into the heartbeat and to whoever listens."""
    task = f"epoch {event.epoch}/{event.epochs}"
    if isinstance(event, ValidationStep):
        task += ": validation"
        heart.beat(task=task, eta_seconds=event.eta)
        tell(Progress(task, event.done, event.total, eta=event.eta))
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
    tell(Progress(task, done, of_epoch, event.clean, event.robust, event.images_per_second, event.eta))


def epoch_line(event: EpochDone, epochs: int) -> str:
    """An epoch's result in one line."""
    row = event.row
    accuracies = f"clean {row.val_clean:.1%}  robust {row.val_robust:.1%}"
    return f"epoch {row.epoch}/{epochs}  {accuracies}  loss {row.train_loss:.3f}" + ("  best" if event.improved else "")


def logged(listen: Listener, log: Path) -> Listener:
    """`listen`, with every note also a line of `log`: local ISO time, message."""

    def tell(event: Event) -> None:
        if isinstance(event, Note):
            with writing(log), log.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {event.text}\n")
        listen(event)

    return tell


@contextmanager
def end_written_down(heart: HeartbeatWriter, tell: Listener, run: str) -> Iterator[None]:
    """Write to heartbeat and log how the training in this block ends, and raise what the user should read of it."""
    try:
        yield
    except KeyboardInterrupt:
        message = f"training of run {run} stopped at epoch {heart.heartbeat.epoch}"
        remedy = f"earlier results are untouched; `ssmlab train {run}` starts again"
        close(heart, tell, "stopped", message)
        raise Interrupted(f"{message}; {remedy}") from None
    except Diverged as error:
        message = f"training of run {run} diverged ({error})"
        remedy = "lower its train.optimizer.lr or ssm_lr; earlier results are untouched"
        close(heart, tell, "failed", message)
        raise UserError(f"{message}; {remedy}") from None
    except BaseException as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        close(heart, tell, "failed", reason.splitlines()[0])
        raise
    heart.close("finished")


def close(heart: HeartbeatWriter, tell: Listener, state: Stored, message: str) -> None:
    """Write down an early end; that may fail in its turn (disk full), but then its cause is what must be told."""
    with suppress(UserError, OSError):
        heart.close(state, message)
        tell(Note(message, warning=True))


@contextmanager
def sole_trainer(lock: Path, run: str) -> Iterator[None]:
    """Hold `lock`, which dies with this process; raises UserError naming the process that holds it already."""
    with writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a+", encoding="ascii")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "unknown"
            raise UserError(f"run {run} is being trained by process {holder}; wait for it or stop it first") from None
        with writing(lock):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within this block an OSError (disk full, no permission) becomes a UserError about `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); mend that and start again") from None


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within this block torch's global generators, which dropout draws from, start at `seed`; then as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
