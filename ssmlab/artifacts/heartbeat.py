"""progress.json: a running stage writes its state there once a second, and a reader can tell whether it still runs."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from ssmlab.core.events import Event, Listener, Progress
from ssmlab.core.files import read_file, write_atomic
from ssmlab.core.json_text import canonical_json
from ssmlab.system.processes import is_alive, pid_start_time

Stage = Literal["train", "attack", "probe"]
Stored = Literal["running", "finished", "failed", "stopped"]
HeartbeatState = Literal["running", "finished", "failed", "stopped", "killed", "stale"]

BEAT_EVERY = 1.0  # seconds
STALE_AFTER = 60.0  # seconds

PROBE_PROGRESS = "probe-progress.json"  # a separate file, so that a probe does not hide a failed attack


@dataclass(frozen=True)
class Heartbeat:
    """The state of one stage at one moment.

    Attributes:
        stage, study, run: the stage and its run.
        pid, pid_start, host: the process, its start in unix seconds (None if the system does not provide it), its host.
        device: "cpu" or "cuda".
        state: the state that the process wrote last; `state_of` gives the present state.
        task: the present work, for readers ("epoch 3/10").
        epoch, epochs, step, steps: progress and total; 0 before the first one, and for stages without epochs or steps.
        loss, clean, robust: running loss, and accuracies in [0, 1]; None if they are unknown.
        images_per_second, eta_seconds: throughput, and remaining seconds of the stage; None if they are unknown.
        time: time of this heartbeat in unix seconds.
        message: one line about the end of the stage; empty while it runs.
    """

    stage: Stage
    study: str
    run: str
    pid: int
    pid_start: float | None
    host: str
    device: str
    state: Stored = "running"
    task: str = ""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    clean: float | None = None
    robust: float | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None
    time: float = 0.0
    message: str = ""


HEARTBEAT = TypeAdapter(Heartbeat)


class HeartbeatWriter:
    """Writes progress.json for this process; every write replaces the whole file."""

    def __init__(
        self, path: Path, *, stage: Stage, study: str, run: str, device: str, clock: Callable[[], float] = time.time
    ) -> None:
        """Write the first heartbeat. `clock` returns unix seconds."""
        self.path = path
        self.clock = clock
        pid = os.getpid()
        self.heartbeat = Heartbeat(stage, study, run, pid, pid_start_time(pid), socket.gethostname(), device)
        self._write()

    def beat(self, **changes: Any) -> None:
        """Change fields of the heartbeat. The file is written once a second, or at once for a new `state` or `task`."""
        before = self.heartbeat
        self.heartbeat = replace(before, **changes)
        said = (self.heartbeat.state, self.heartbeat.task)
        if said != (before.state, before.task) or self.clock() - before.time >= BEAT_EVERY:
            self._write()

    def close(self, state: Stored, message: str = "") -> None:
        """Write the last heartbeat, with the final state."""
        self.heartbeat = replace(self.heartbeat, state=state, message=message, eta_seconds=None)
        self._write()

    def _write(self) -> None:
        self.heartbeat = replace(self.heartbeat, time=self.clock())
        write_atomic(self.path, canonical_json(asdict(self.heartbeat)), durable=False)


def with_heartbeat(heart: HeartbeatWriter, on_event: Listener) -> Listener:
    """A listener that writes every `Progress` of a stage to its heartbeat and passes every event on to `on_event`."""

    def beat_and_pass_on(event: Event) -> None:
        if isinstance(event, Progress):
            heart.beat(
                task=event.task,
                step=event.done,
                steps=event.total,
                images_per_second=event.images_per_second,
                eta_seconds=event.eta,
            )
        on_event(event)

    return beat_and_pass_on


def read_heartbeat(path: Path) -> Heartbeat | None:
    """The heartbeat in a progress.json; None if the file is missing, incomplete or something else."""
    try:
        return heartbeat_in(path)
    except (OSError, ValidationError):
        return None


def heartbeat_in(path: Path) -> Heartbeat:
    """The heartbeat in a progress.json; raises OSError if it cannot be read, and ValidationError for other content."""
    return HEARTBEAT.validate_json(read_file(path), strict=True)


def state_of(heartbeat: Heartbeat, now: float) -> HeartbeatState:
    """The state of the process behind a heartbeat, at `now` in unix seconds.

    If the process wrote its final state, that state is returned. If the process ran on this machine and no longer
    exists, or its pid belongs to a later process, it was killed. If it has not written for a minute, it is stale; for
    other machines, only this can be detected. A time in the future, from a clock that was wrong, is stale too.
    Otherwise, a run that was killed on another machine would seem to run until that time.
    """
    if heartbeat.state != "running":
        return heartbeat.state
    if heartbeat.host == socket.gethostname() and not is_alive(heartbeat.pid, heartbeat.pid_start):
        return "killed"
    return "stale" if abs(now - heartbeat.time) > STALE_AFTER else "running"
