"""progress.json: what a running stage writes about itself once a second, and what a reader can conclude from it."""

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
from ssmlab.core.files import canonical_json, write_atomic
from ssmlab.system.processes import is_alive, pid_start_time

Stage = Literal["train", "attack", "probe"]
Stored = Literal["running", "finished", "failed", "stopped"]
HeartbeatState = Literal["running", "finished", "failed", "stopped", "killed", "stale"]

BEAT_EVERY = 1.0  # seconds
STALE_AFTER = 60.0  # seconds

PROBE_PROGRESS = "probe-progress.json"  # in the live folder; its own, so that a probe hides no attack that has failed


@dataclass(frozen=True)
class Heartbeat:
    """The state of one stage at one moment.

    Attributes:
        stage, study, run: whose state it is.
        pid, pid_start, host: the process; its start in unix seconds (None where the system does not tell).
        device: "cpu" or "cuda".
        state: what the process last said; `state_of` says what is true now.
        task: what is being done, for people ("epoch 3/10").
        epoch, epochs, step, steps: how far of how far; 0 before the first and where they make no sense.
        loss, clean, robust: running loss and accuracies in [0, 1]; None while unknown.
        images_per_second, eta_seconds: throughput, and time to the end of the stage; None while unknown.
        time: unix seconds of this heartbeat.
        message: one line on how it ended, empty while it runs.
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
    """Keeps a progress.json about this process; every write replaces the file whole."""

    def __init__(
        self, path: Path, *, stage: Stage, study: str, run: str, device: str, clock: Callable[[], float] = time.time
    ) -> None:
        """Write the first heartbeat. `clock` gives unix seconds."""
        self.path = path
        self.clock = clock
        pid = os.getpid()
        self.heartbeat = Heartbeat(stage, study, run, pid, pid_start_time(pid), socket.gethostname(), device)
        self._write()

    def beat(self, **changes: Any) -> None:
        """Change fields of the heartbeat; the file follows once a second, at once when `state` or `task` changes."""
        before = self.heartbeat
        self.heartbeat = replace(before, **changes)
        said = (self.heartbeat.state, self.heartbeat.task)
        if said != (before.state, before.task) or self.clock() - before.time >= BEAT_EVERY:
            self._write()

    def close(self, state: Stored, message: str = "") -> None:
        """Write the last heartbeat: how it ended."""
        self.heartbeat = replace(self.heartbeat, state=state, message=message, eta_seconds=None)
        self._write()

    def _write(self) -> None:
        self.heartbeat = replace(self.heartbeat, time=self.clock())
        write_atomic(self.path, canonical_json(asdict(self.heartbeat)), durable=False)


def with_heartbeat(heart: HeartbeatWriter, on_event: Listener) -> Listener:
    """`on_event`, with every progress of a stage carried into its heartbeat."""

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
    """The heartbeat in a progress.json; None if the file is missing, torn or something else."""
    try:
        return HEARTBEAT.validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError):
        return None


def state_of(heartbeat: Heartbeat, now: float) -> HeartbeatState:
    """What became of the process behind a heartbeat, at `now` in unix seconds.

    An end that was written down stands. A process of this machine that is gone, or whose pid belongs to a later
    process, was killed. One that has been silent for a minute is stale; of other machines only this can be seen.
    """
    if heartbeat.state != "running":
        return heartbeat.state
    if heartbeat.host == socket.gethostname() and not is_alive(heartbeat.pid, heartbeat.pid_start):
        return "killed"
    return "stale" if now - heartbeat.time > STALE_AFTER else "running"
