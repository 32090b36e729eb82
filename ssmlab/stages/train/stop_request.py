"""Stops a training early and cleanly: a file in its live folder requests it, and the trainer checks at every step."""

from __future__ import annotations

import time
from pathlib import Path

from ssmlab.artifacts.heartbeat import Heartbeat, read_heartbeat, state_of
from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.params.paths import Paths

LOOK_EVERY = 0.1  # seconds


def request_of(live: Path) -> Path:
    """The file that asks the trainer of a live folder to stop, once it exists; a trainer removes it when it starts."""
    return live / "stop"


def stop_training(paths: Paths, run: str, patience: float) -> str:
    """Ask the training of `run` to stop at its next step, and wait up to `patience` seconds for its end.

    Returns:
        one line: how it ended, or that the request was made.

    Raises:
        UserError: the run is not being trained.
    """
    beat = read_heartbeat(paths.live(run) / "progress.json")
    if beat is None or beat.stage != "train" or not at_work(beat):
        what = "not running" if beat is None or not at_work(beat) else "being attacked; stop that with Ctrl-C"
        raise UserError(f"run {run} is not being trained: it is {what}; see `ssmlab runs`")
    write_atomic(request_of(paths.live(run)), "", durable=False)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
        latest = read_heartbeat(paths.live(run) / "progress.json")
        if latest is None or latest.pid != beat.pid:
            return f"the training of run {run} has ended"  # the heartbeat is now that of the next stage
        if not at_work(latest):
            state = state_of(latest, time.time())
            return latest.message or f"the training of run {run} ended before it saw the request: {state}"
    return f"run {run} was asked to stop; it stops at the end of this step"


def at_work(beat: Heartbeat) -> bool:
    """Whether the process of a heartbeat may still run; a silent one may be in a long step."""
    return state_of(beat, time.time()) in ("running", "stale")
