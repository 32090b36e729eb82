"""Starts and stops the pipeline: waits for DVC's lock, stops gracefully or immediately. Needs no Textual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.project.dvc_files import dvc_at_work
from ssmlab.project.launched import Launched, stop_launch
from ssmlab.stages.train.stop_request import request_of
from ssmlab.tui.look import Look

LOOK_EVERY = 1.0  # seconds between two checks of a lock that is held


class Launcher:
    """Starts and stops launches; the app has one.

    Attributes:
        stopping: the launch that is being stopped.
        waiting: whether a launch waits for DVC's lock.
    """

    def __init__(self) -> None:
        self.stopping: Launched | None = None
        self.waiting = False

    async def start(self, look: Look, targets: Sequence[str], say: Callable[[str], None]) -> Launched | None:
        """Launch runs or stages (none: everything) once DVC's lock is free; None if the user gave up waiting.

        Raises:
            UserError: as `launch.launch` does.
        """
        if look.params is None or look.paths is None:
            return None
        from ssmlab.project import launch  # imported here: the first screen does not need it

        self.waiting = True
        try:
            while look.launched is None and (holder := await asyncio.to_thread(dvc_at_work, look.paths.root)):
                say(f"waiting: {holder} is running in this project; press s to cancel")
                await asyncio.sleep(LOOK_EVERY)
                if not self.waiting:
                    return None
            force = needs_force(look, targets)
            return await asyncio.to_thread(launch.launch, look.params, look.paths, list(targets), force)
        finally:
            self.waiting = False

    async def stop_gracefully(self, look: Look) -> list[str]:
        """Ask every running training to end at its next step and publish its results; return the runs' names."""
        if look.paths is None:
            return []
        asked = []
        for view in look.runs:
            if view.running and view.status.stage == "train":
                await asyncio.to_thread(write_atomic, request_of(look.paths.live(view.name)), "", False)
                asked.append(view.name)
        return asked

    async def stop_firmly(self, launched: Launched) -> None:
        """End a launch and all its processes, and wait until they are gone."""
        self.stopping = launched
        await asyncio.to_thread(stop_launch, launched)


def needs_force(look: Look, targets: Sequence[str]) -> bool:
    """Whether all targets are trainings that were stopped early: DVC considers their published results complete."""
    views = [look.run(target) for target in targets]
    return bool(views) and all(
        view is not None and view.status.state == "stopped" and view.status.epoch < view.status.epochs for view in views
    )


def kept_when_stopped(look: Look) -> str:
    """What each kind of stop keeps and loses, as text for the question before the stop."""
    training = [view for view in look.runs if view.running and view.status.stage == "train"]
    lines = []
    for view in training:
        done = view.status.rows[-1].epoch if view.status.rows else 0
        if done:
            lines.append(
                f"Gracefully: {view.name} publishes its {done} epochs and keeps its state, then the pipeline "
                f"continues. Immediately: nothing is published, and the next launch continues after epoch {done}."
            )
        else:
            lines.append(f"{view.name} is in its first epoch: there is nothing to publish or to keep yet.")
    if not training:
        lines.append("No training is running: unfinished work of the running stage is lost.")
    return "\n".join([*lines, "Published results do not change."])


def launch_problem(error: UserError) -> str:
    """The error of a failed launch on one line."""
    return " ".join(str(error).split())
