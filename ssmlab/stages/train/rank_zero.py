"""Rank 0 of a training: the only rank that writes files, reports and publishes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ssmlab.artifacts.checkpoint import checkpoint_bytes
from ssmlab.artifacts.heartbeat import HeartbeatWriter
from ssmlab.artifacts.history import Row
from ssmlab.artifacts.manifest import MANIFEST, PUBLISHED, Ending, Manifest, file_hashes, publish
from ssmlab.artifacts.metadata import Metadata
from ssmlab.artifacts.outcome import close_early, recording_outcome
from ssmlab.artifacts.stage_run import StageRun, prepared_input, start_stage
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note
from ssmlab.core.version import __version__
from ssmlab.data.dataset import Dataset
from ssmlab.params import Params, RunParams, Which
from ssmlab.params.paths import Paths
from ssmlab.stages.train.follower import fit_from, seeded
from ssmlab.stages.train.live_record import Record
from ssmlab.stages.train.reporting import epoch_line, explain_failure, logged, report_step, what_is_kept, writing
from ssmlab.stages.train.state_file import Identity
from ssmlab.stages.train.stop_request import request_of
from ssmlab.system.locks import lock
from ssmlab.training.distributed import Group, detecting_lost_ranks
from ssmlab.training.events import EpochDone, StepDone, ValidationStep
from ssmlab.training.state import StateMismatch

LIVE = ("state.safetensors", "best.safetensors", "last.safetensors", "history.csv", "progress.json", "log.txt")


@dataclass(frozen=True)
class TrainingJob:
    """The inputs of rank 0 of a training: the arguments of `train`, and values that follow from them."""

    params: Params
    run: str
    paths: Paths
    dataset: Dataset
    identity: Identity
    device: torch.device
    group: Group
    on_event: Listener
    reread: Callable[[], Params] | None

    @property
    def settings(self) -> RunParams:
        return self.params.run(self.run)

    @property
    def epochs(self) -> int:
        return self.settings.train.passes

    def run_rank_zero(self) -> None:
        """The whole training on rank 0; the other ranks run `run_follower`."""
        live = self.paths.live(self.run)
        with sole_trainer(live / "lock", self.run):
            started = self.start()
            request_of(live).unlink(missing_ok=True)
            record = Record(live, self.identity)
            refused = record.take_up()
            if record.state is None:
                for name in LIVE:
                    (live / name).unlink(missing_ok=True)
            heart = HeartbeatWriter(
                live / "progress.json",
                stage="train",
                study=self.params.study,
                run=self.run,
                device=self.device.type,
            )
            on_event = logged(self.on_event, live / "log.txt")
            with (
                recording_outcome(
                    heart,
                    on_event,
                    lambda: f"training of run {self.run} stopped at epoch {heart.heartbeat.epoch}",
                    lambda: what_is_kept(self.run, record),
                    lambda error: explain_failure(error, heart, self.run, on_event),
                ),
                detecting_lost_ranks(),
                seeded(self.settings.train.seed, self.device),
            ):
                if refused:
                    on_event(Note(f"the state of an earlier training of {self.run} {refused}", warning=True))
                stopped = self.train_epochs(record, heart, on_event)
                self.publish(record, stopped, started, on_event)
                if stopped:
                    close_early(heart, on_event, "stopped", asked_line(self.run, len(record.rows), self.epochs))
                else:
                    record.finish()
                    heart.close("finished")

    def start(self) -> StageRun:
        """Record params, code and data at the start of the training, and check that its files can be written."""
        published, live = self.paths.model(self.run), self.paths.live(self.run)
        return start_stage(
            "train",
            partial(train_params, run=self.run),
            self.params,
            [prepared_input(self.paths.prepared, self.dataset.fingerprint)],
            [*(published / name for name in (*PUBLISHED, MANIFEST)), *(live / name for name in LIVE)],
            root=self.paths.root,
            reread=self.reread,
            device=self.device.type,
            threads=self.identity.threads,
        )

    def train_epochs(self, record: Record, heart: HeartbeatWriter, on_event: Listener) -> bool:
        """Train to the end or until a stop is requested; returns whether it was."""

        def start_afresh(error: StateMismatch) -> None:
            kept = record.keep_aside(None)
            record.start_afresh()
            text = f"the state of an earlier training of {self.run} does not fit ({error}); it is kept as {kept}"
            on_event(Note(text, warning=True))

        together = f", {self.group.size} processes" if self.group.size > 1 else ""
        images, where = len(self.dataset.train), self.device.type
        threads = f", {self.identity.threads} thread" + ("" if self.identity.threads == 1 else "s")
        on_event(Note(f"training {self.run}: {self.epochs} epochs of {images} images on {where}{together}{threads}"))
        if record.rows:
            on_event(Note(f"continuing after epoch {len(record.rows)}/{self.epochs}"))
        events = fit_from(
            self.settings, self.dataset, self.identity, self.device, self.group, record.state, start_afresh
        )
        for event in events:
            if isinstance(event, EpochDone):
                self.record_epoch(event, record, heart, on_event)
            elif self.is_asked_to_stop(event, heart, on_event):
                return True
        if len(record.rows) < self.epochs:
            patience = self.settings.train.patience
            on_event(Note(f"stopped early: no improvement in {patience} epochs (`train.patience`)"))
        return False

    def is_asked_to_stop(self, event: StepDone | ValidationStep, heart: HeartbeatWriter, on_event: Listener) -> bool:
        """Report a step; returns whether any rank has seen a request to stop."""
        report_step(event, heart, on_event)
        return self.group.any(request_of(self.paths.live(self.run)).exists())

    def record_epoch(self, event: EpochDone, record: Record, heart: HeartbeatWriter, on_event: Listener) -> None:
        """Save the state and the checkpoints that the epoch replaces, and report it."""
        files = {
            f"{which}.safetensors": checkpoint_bytes(event.model, self.metadata(event.row, which))
            for which in replaced_checkpoints(event)
        }
        record.add(event.state, files)
        heart.beat(clean=event.row.val_clean, robust=event.row.val_robust)
        on_event(Note(epoch_line(event, self.epochs)))

    def publish(self, record: Record, stopped: bool, started: StageRun, on_event: Listener) -> None:
        """Write the outputs of the stage; raises UserError if params, code or data have changed since the start."""
        if not record.rows:
            raise KeyboardInterrupt  # a stop was requested before there was anything to publish
        if changed := started.changed():
            raise UserError(
                f"{changed} since the training of {self.run} started, so it is not published; its "
                f"files are kept in {self.paths.live(self.run)}: undo the change to publish them, or train again"
            )
        ended: Ending = "all epochs" if len(record.rows) == self.epochs else "asked to stop" if stopped else "patience"
        contents = record.contents()
        manifest = Manifest(
            study=self.params.study,
            run=self.run,
            files=file_hashes(contents),
            epochs_done=len(record.rows),
            epochs_asked=self.epochs,
            ended=ended,
            provenance=started.provenance,
        )
        record.publishing = True
        folder = self.paths.model(self.run)
        publish(folder, contents, manifest)
        on_event(Note(f"{folder}: {', '.join(contents)} are written"))

    def metadata(self, row: Row, which: Which) -> Metadata:
        """The metadata of a checkpoint after the epoch of `row`."""
        settings = self.settings
        return Metadata(
            study=self.params.study,
            run=self.run,
            which=which,
            epoch=row.epoch,
            model=settings.model,
            train=settings.train,
            image_shape=self.dataset.image_shape,
            classes=self.dataset.classes,
            val_clean=row.val_clean,
            val_robust=row.val_robust,
            selection_split=settings.train.selection.split,
            data_name=self.dataset.name,
            data_fingerprint=self.dataset.fingerprint,
            params_fingerprint=settings.fingerprint(),
            code_version=__version__,
            threads=self.identity.threads,
        )


def asked_line(run: str, epoch: int, epochs: int) -> str:
    """The last line of a training that stopped on request."""
    return (
        f"training of run {run} stopped on request, epoch {epoch}/{epochs} is published; "
        f"DVC considers the stage done; `ssmlab repro {run} --force` continues from there"
    )


def train_params(params: Params, run: str) -> dict[str, Any]:
    """The part of params.yaml that the stage reads; raises UserError if there is no such run."""
    return {"study": params.study, **params.run(run).plain()}


def replaced_checkpoints(event: EpochDone) -> tuple[Which, ...]:
    """The checkpoints that an epoch replaces."""
    return ("best", "last") if event.improved else ("last",)


@contextmanager
def sole_trainer(path: Path, run: str) -> Iterator[None]:
    """Hold the lock at `path`, which ends with this process; raises UserError if another process holds it."""
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
