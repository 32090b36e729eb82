"""The keys that launch and stop the pipeline; the screens of runs and of the pipeline share them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import work
from textual.binding import Binding, BindingType

from ssmlab.core.errors import UserError
from ssmlab.project.launched import launch_text
from ssmlab.project.pipeline import RUN_STAGES
from ssmlab.tui import labels
from ssmlab.tui.launcher import kept_when_stopped
from ssmlab.tui.look import Look
from ssmlab.tui.pipeline import ask_dvc, read_stages, seconds_needed
from ssmlab.tui.screens.dialogs import Question

if TYPE_CHECKING:
    from ssmlab.tui.screens.base import LabScreen as Base
else:
    Base = object

LISTED = 20  # names in a question; more names are only counted


# Textual collects bindings of widgets only, not of this mixin, so every screen that launches lists these.
LAUNCH_KEYS: list[BindingType] = [
    Binding("r", "launch", "run", tooltip="launch the marked runs, or the one under the cursor", id="run"),
    Binding("R", "launch_rest", "run rest", tooltip="launch what is out of date (asks first)", id="run-rest"),
    Binding("s", "stop", "stop", tooltip="stop what was launched, gracefully or immediately (asks first)", id="stop"),
]


class Launching(Base):
    """Actions to launch runs, launch the rest, and stop."""

    def chosen_names(self) -> list[str]:
        """The runs or stages that `run` launches."""
        raise NotImplementedError

    def action_launch(self) -> None:
        names = self.chosen_names()
        if names:
            self.launch_after_question(names)

    @work(group="launch")
    async def launch_after_question(self, names: list[str]) -> None:
        """Launch one run at once; ask before launching several."""
        if self.params_in_use() is None:  # checked before the question, so that nobody answers it in vain
            return
        if len(names) > 1:
            shown = names if len(names) <= LISTED else [*names[:LISTED], f"{len(names) - LISTED} more"]
            about = estimate(self.look, [f"{stage}@{name}" for name in names for stage in RUN_STAGES])
            question = Question(f"Launch {len(names)} runs?", f"{', '.join(shown)}\n{about}", [("launch", "y")], "no")
            if not await self.app.push_screen_wait(question):
                return
        await self.start(names)

    @work(group="launch", exclusive=True)
    async def action_launch_rest(self) -> None:
        """Ask DVC what is out of date, say how much that is, and launch it if the user agrees."""
        look = self.look
        if look is None or look.problem is not None or (params := self.params_in_use()) is None:
            return
        if look.launched is not None:
            self.say(f"{launch_text(look.launched)} is already running", "bad")
            return
        self.say("asking DVC what is out of date ...")
        try:
            state = await ask_dvc(await read_stages(params, self.lab.root), self.lab.root)
        except UserError as error:
            self.say(str(error), "bad")
            return
        if state.problem is None and not state.changed:
            self.say("nothing to do: every stage is up to date", "good")
            return
        if state.problem is None:
            title = f"Run {len(state.changed)} of {len(state.stages)} stages?"
            text = f"{state.counted()}\n{estimate(look, list(state.changed))}"
        else:
            title, text = "Run everything that is out of date?", state.problem
        if await self.app.push_screen_wait(Question(title, text, [("run", "y")], "no")):
            await self.start([])

    async def start(self, targets: Sequence[str]) -> None:
        """Launch runs or stages through DVC, everything if none are named."""
        look = self.look
        if look is None or look.problem is not None or self.params_in_use() is None:
            return  # the notice says why
        try:
            launched = await self.lab.launcher.start(look, targets, self.say)
        except UserError as error:
            self.say(str(error), "bad")
            return
        if launched is None:
            self.say("cancelled: nothing was launched")
            return
        self.lab.take_launch(launched)
        self.say(f"{launch_text(launched)} launched; it continues if you quit")

    @work(group="stop")
    async def action_stop(self) -> None:
        """Stop the launch as the user chooses, or stop waiting for DVC's lock."""
        look, launcher = self.look, self.lab.launcher
        if launcher.waiting:
            launcher.waiting = False
            return
        if look is None or look.launched is None:
            self.say(nothing_to_stop(look))
            return
        launched = look.launched
        trains = any(view.running and view.status.stage == "train" for view in look.runs)
        answers = [*([("gracefully", "g")] if trains else []), ("immediately", "y")]
        question = Question(f"Stop {launch_text(launched)}?", kept_when_stopped(look), answers, "let it run")
        answer = await self.app.push_screen_wait(question)
        if answer == "gracefully":
            asked = await launcher.stop_gracefully(look)
            ends = f"{' and '.join(asked)} will end at the next step and publish the epochs so far"
            self.say(ends if asked else "no training is running; stop immediately to end the running stage")
        elif answer == "immediately":
            self.say("stopping ...")
            await launcher.stop_firmly(launched)
            await asyncio.sleep(0)


def nothing_to_stop(look: Look | None) -> str:
    """Why there is nothing to stop."""
    running = [view.name for view in look.runs if view.running] if look is not None else []
    if running:
        return f"{' and '.join(running)} was not launched here: `ssmlab stop` ends it, or Ctrl-C where it was started"
    return "nothing is running"


def estimate(look: Look | None, stages: Sequence[str]) -> str:
    """`About 12m.`"""
    seconds = seconds_needed(look, stages) if look is not None else None
    return (
        "The duration is unknown: no run has trained yet."
        if not seconds
        else f"About {labels.short_duration(seconds)}."
    )
