"""The stage `train`: one run from the prepared data to its checkpoints, its progress visible in files all the while."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

import torch

from ssmlab.artifacts.checkpoint import content
from ssmlab.artifacts.heartbeat import HeartbeatWriter, Stored
from ssmlab.artifacts.history import Row
from ssmlab.artifacts.metadata import Metadata
from ssmlab.core.errors import Interrupted, UserError
from ssmlab.core.events import Event, Listener, Note, Progress, silence
from ssmlab.core.version import __version__
from ssmlab.data.dataset import Dataset, load_dataset
from ssmlab.nets.build import sequence_length
from ssmlab.params import Params, Which
from ssmlab.params.paths import Paths
from ssmlab.stages.train.follower import assist, beginning, seeded
from ssmlab.stages.train.state_file import STATE, Identity, Record, code_version, sweep, with_saved_threads
from ssmlab.stages.train.stop_request import request_of
from ssmlab.system.locks import lock
from ssmlab.training.distributed import Group, detecting_lost_ranks, process_group
from ssmlab.training.events import Diverged, EpochDone, StepDone, ValidationStep
from ssmlab.training.loop import fit
from ssmlab.training.threads import thread_count, using_threads

LIVE = ("state.safetensors", "best.safetensors", "last.safetensors", "history.csv", "progress.json", "log.txt")
NAMED = 8  # image numbers in an error; the log has all of them


def train(params: Params, run: str, paths: Paths, device: str | None = None, listen: Listener = silence) -> None:
    """Train `run` of the study and publish best.safetensors, last.safetensors and history.csv in `paths.model(run)`.

    While it works, `paths.live(run)` holds the same files as they stand, log.txt, the heartbeat progress.json, and the
    state of the last whole epoch. A training that did not come to its end goes on from there, to the same bits; a state
    of other params, data, code or device is not taken up. `device` overrides the run's own setting.

    A stop that was asked for (`pipeline.stopping`) ends it at the next step, publishes what it has and keeps the state.

    Started by torchrun this is one of several processes that train together; the first of them alone does the above.

    Raises:
        UserError: unknown run or device, no prepared data, the run is being trained already, the training diverged,
            the disk or the device's memory is full, or another process has ended. What was published before is
            untouched, the state is kept.
        Interrupted: KeyboardInterrupt, which the CLI raises on Ctrl-C and SIGTERM; likewise. Also a stop that was asked
            for before there was anything to publish.
    """
    settings = params.run(run)
    dataset = load_dataset(paths.prepared)
    with process_group(device or settings.train.device) as (group, where):
        about = identity(params, run, dataset, where, group)
        if group.rank == 0 and settings.train.threads == "auto":
            about = with_saved_threads(paths.live(run) / STATE, about)
        about = about.model_copy(update={"threads": group.broadcast(about.threads)})
        with using_threads(about.threads):
            if group.rank > 0:
                assist(settings, dataset, about, where, group)
            else:
                lead(params, run, paths, dataset, about, where, group, listen)


def lead(
    params: Params,
    run: str,
    paths: Paths,
    dataset: Dataset,
    about: Identity,
    where: torch.device,
    group: Group,
    listen: Listener,
) -> None:
    """`train` in the first process of `group`, on `where`; the others `assist` it."""
    settings = params.run(run)
    live, epochs = paths.live(run), settings.train.passes

    with sole_trainer(live / "lock", run):
        request_of(live).unlink(missing_ok=True)
        for folder in (live, paths.model(run)):
            sweep(folder)
        record = Record(live, about)
        refused = record.take_up()
        if record.state is None:
            for name in LIVE:
                (live / name).unlink(missing_ok=True)
        heart = HeartbeatWriter(live / "progress.json", stage="train", study=params.study, run=run, device=where.type)
        tell = logged(listen, live / "log.txt")

        with end_written_down(heart, tell, run, record), detecting_lost_ranks(), seeded(settings.train.seed, where):
            if refused:
                tell(Note(f"the state of an earlier training of {run} {refused}: starting afresh", warning=True))
            model, state = beginning(settings, dataset, about, where, group, record.state)
            together = f", {group.size} processes" if group.size > 1 else ""
            threads = f", {about.threads} thread" + ("" if about.threads == 1 else "s")
            images = f"{epochs} epochs of {len(dataset.train)} images"
            tell(Note(f"training {run}: {images} on {where.type}{together}{threads}"))
            if record.rows:
                tell(Note(f"going on after epoch {len(record.rows)}/{epochs}"))
            stopped = False
            for event in fit(model, dataset, settings.train, where, state, group):
                if isinstance(event, EpochDone):
                    files = {}
                    for which in kept(event):
                        about_file = metadata(params, run, dataset, event.row, which, about.threads)
                        files[f"{which}.safetensors"] = content(event.model, about_file)
                    record.add(event.state, files)
                    heart.beat(clean=event.row.val_clean, robust=event.row.val_robust)
                    tell(Note(epoch_line(event, epochs)))
                else:
                    follow(event, heart, tell)
                    stopped = group.any(request_of(live).exists())
                    if stopped:
                        break
            if not stopped and len(record.rows) < epochs:
                tell(Note(f"stopped early: nothing better in {settings.train.patience} epochs (`train.patience`)"))
            if not record.rows:
                raise KeyboardInterrupt  # asked to stop before there was anything to publish
            published = record.publish(paths.model(run))
            tell(Note(f"{paths.model(run)}: {', '.join(published)} are written"))
            if stopped:
                close(heart, tell, "stopped", asked_line(run, len(record.rows), epochs))
            else:
                record.finish()
                heart.close("finished")


def asked_line(run: str, epoch: int, epochs: int) -> str:
    """What a stop that was asked for has come to."""
    return (
        f"training of run {run} stopped as asked, epoch {epoch}/{epochs} is published; "
        f"DVC takes the stage as done: `ssmlab repro {run} --force` goes on from there"
    )


def identity(params: Params, run: str, dataset: Dataset, device: torch.device, group: Group) -> Identity:
    """What a state must agree with to be continued from, and the ranks of a training with each other."""
    settings = params.run(run)
    images = group.shard(settings.train.batch_size).size
    activations = images * sequence_length(settings.model, dataset.image_shape) * settings.model.d_model
    return Identity(
        run=run,
        parameters=settings.fingerprint(),
        data_set=dataset.fingerprint,
        code=code_version(),
        device=device.type,
        threads=thread_count(settings.train.threads, activations, device, torch.get_num_threads()),
    )


def kept(event: EpochDone) -> tuple[Which, ...]:
    """The checkpoints that an epoch replaces."""
    return ("best", "last") if event.improved else ("last",)


def metadata(params: Params, run: str, dataset: Dataset, row: Row, which: Which, threads: int) -> Metadata:
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
        threads=threads,
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
def end_written_down(heart: HeartbeatWriter, tell: Listener, run: str, record: Record) -> Iterator[None]:
    """Write to heartbeat and log how a training that breaks off ends, and raise what the user should read of it."""
    try:
        yield
    except KeyboardInterrupt:
        message = f"training of run {run} stopped at epoch {heart.heartbeat.epoch}"
        close(heart, tell, "stopped", message)
        raise Interrupted(f"{message}; {what_is_kept(run, record)}") from None
    except Diverged as error:
        message = f"training of run {run} diverged ({error})"
        close(heart, tell, "failed", message)
        if error.images:
            rows = [str(image) for image in error.images]
            with suppress(UserError, OSError):
                tell(Note(f"images of that batch, as rows of the source: {', '.join(rows)}"))
            message += f" on images {', '.join(rows[:NAMED])}" + (" ..." if len(rows) > NAMED else "")
        remedy = "lower its train.optimizer.lr or ssm_lr"
        raise UserError(f"{message}; {remedy}; {what_is_kept(run, record)}") from None
    except torch.OutOfMemoryError:
        message = f"training of run {run}: {heart.heartbeat.device} is out of memory; lower its train.batch_size"
        close(heart, tell, "failed", message)
        raise UserError(f"{message}; {what_is_kept(run, record)}") from None
    except (UserError, OSError) as error:
        reason = str(error) if isinstance(error, UserError) else f"{error.filename or run}: {error.strerror or error}"
        close(heart, tell, "failed", reason)
        raise UserError(f"{reason}; {what_is_kept(run, record)}") from None
    except BaseException as error:
        close(heart, tell, "failed", f"{type(error).__name__}: {error}".splitlines()[0])
        raise


def what_is_kept(run: str, record: Record) -> str:
    """What an early end has not cost, and how to go on."""
    if not record.rows:
        return f"no epoch was done, earlier results are untouched; `ssmlab train {run}` starts again"
    earlier = "its results may be published in part" if record.publishing else "earlier results are untouched"
    return f"{earlier}; `ssmlab train {run}` goes on from epoch {len(record.rows)}"


def close(heart: HeartbeatWriter, tell: Listener, state: Stored, message: str) -> None:
    """Write down an early end; that may fail in its turn (disk full), but then its cause is what must be told."""
    with suppress(UserError, OSError):
        heart.close(state, message)
        tell(Note(message, warning=True))


@contextmanager
def sole_trainer(path: Path, run: str) -> Iterator[None]:
    """Hold the lock at `path`, which dies with this process; raises UserError naming the process that holds it."""
    with ExitStack() as held:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = held.enter_context(lock(path, wait=False))
            except BlockingIOError:
                holder = path.read_text(encoding="ascii") or "unknown"
                raise UserError(
                    f"run {run} is being trained by process {holder}; wait for it or stop it first"
                ) from None
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
