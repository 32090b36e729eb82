"""Ending a training early and in good order: a file in its live folder asks, the trainer looks at every step."""

from __future__ import annotations

import time
from pathlib import Path

from ssmlab.artifacts.heartbeat import Heartbeat, read_heartbeat, state_of
from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.params.paths import Paths

LOOK_EVERY = 0.1  # seconds


def request_of(live: Path) -> Path:
    """The file whose presence asks the trainer of the live folder to stop; a trainer removes it when it starts."""
    return live / "stop"


def stop_training(paths: Paths, run: str, patience: float) -> str:
    """Ask the training of `run` to stop at its next step, and wait up to `patience` seconds for its end.

    Returns:
        in one line how it ended, or that it has been asked.

    Raises:
        UserError: the run is not being trained.
    """
    beat = read_heartbeat(paths.live(run) / "progress.json")
    if beat is None or beat.stage != "train" or not at_work(beat):
        what = "not at work" if beat is None or not at_work(beat) else "being attacked; stop that with Ctrl-C"
        raise UserError(f"run {run} is not being trained: it is {what} (`ssmlab runs` tells more)")
    write_atomic(request_of(paths.live(run)), "", durable=False)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
        latest = read_heartbeat(paths.live(run) / "progress.json")
        if latest is None or latest.pid != beat.pid:
            return f"the training of run {run} has ended"  # and the next stage has begun
        if not at_work(latest):
            state = state_of(latest, time.time())
            return latest.message or f"the training of run {run} ended before it saw the request: {state}"
    return f"run {run} is asked to stop, and will at the end of its step"


def at_work(beat: Heartbeat) -> bool:
    """Whether the process behind a heartbeat may still run: a silent one may be in a long step."""
    return state_of(beat, time.time()) in ("running", "stale")
