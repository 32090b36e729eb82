"""The keys that change what is studied: edit a run, look at another study, use it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work
from textual.binding import BindingType

from ssmlab.core.errors import UserError
from ssmlab.tui.screens.dialogs import Choice, Question
from ssmlab.tui.screens.table_screen import TableScreen, key

if TYPE_CHECKING:
    from ssmlab.project.switch import StudyFile

    Base = TableScreen
else:
    Base = object

STUDY_KEYS: list[BindingType] = [
    key("e", "edit", "edit", "edit epochs, eps, seed and regime of the run; shows the change before it is written"),
    key("w", "studies", "studies", "look at another study, or switch params.yaml to it"),
]
SHOWN = 14  # changed keys in a question; more keys are only counted


class Studies(Base):
    """Actions that edit a run and that change studies."""

    @work(group="edit", exclusive=True)
    async def action_edit(self) -> None:
        """Edit the run under the cursor, show the change, and write it if the user agrees."""
        from ssmlab.project.edit import write_edit  # imported here: the first screen does not need it
        from ssmlab.tui.screens.edit_run import EditRun

        row, look = self.table.selected, self.look
        if row is None or look is None or look.problem is not None or (params := self.params_in_use()) is None:
            return
        run, path = row.members[0].name, self.lab.root / "params.yaml"
        try:
            edit = await self.app.push_screen_wait(EditRun(path, params, run))
            if edit is None:
                return
            consequence = f"{edit.diff}\n\nOnly {run} changes; it reads `changed` until it has been run again."
            if await self.app.push_screen_wait(Question("Write params.yaml?", consequence, [("write", "y")], "no")):
                await asyncio.to_thread(write_edit, edit)
                self.say(f"params.yaml is written; r runs {run}", "good")
        except UserError as error:
            self.say(str(error), "bad")

    @work(group="studies", exclusive=True)
    async def action_studies(self) -> None:
        """Choose a study, then look at it or use it."""
        from ssmlab.project import study_changes as changing  # imported here: the first screen does not need them
        from ssmlab.project import switch

        root, look = self.lab.root, self.look
        known = {study.name: study for study in await asyncio.to_thread(switch.studies, root)}
        in_use = await asyncio.to_thread(switch.in_use, root / "params.yaml")
        if not known:
            self.say("there are no studies here: the folder studies/ is missing or empty", "bad")
            return
        shown = look.params.study if look is not None and look.params is not None else ""
        options = [(study.name, about_study(study, in_use)) for study in known.values()]
        name = await self.app.push_screen_wait(Choice("studies (* is in use)", options, shown))
        if not name:
            return
        if name == in_use:
            self.lab.show_study(None)
            return
        try:
            changes = await asyncio.to_thread(changing.study_changes, root / "params.yaml", known[name].path)
            told = changing.most_telling(changes, SHOWN)
            lines = [f"{each.key}: {each.old or '-'} -> {each.new or '-'}" for each in told]
            more = [f"and {len(changes) - len(told)} more keys"] if len(changes) > len(told) else []
            text = "\n".join(["Using it changes params.yaml:", *lines, *more])
            answers = [("look at it", "l"), ("use it", "u")]
            answer = await self.app.push_screen_wait(Question(f"Study {name}", text, answers, "neither"))
            if answer == "use it":
                await asyncio.to_thread(switch.use, name, root)
                self.say(f"params.yaml is now the study {name}", "good")
            if answer:
                self.lab.show_study(None if answer == "use it" else name)
        except UserError as error:
            self.say(str(error), "bad")


def about_study(study: StudyFile, in_use: str | None) -> str:
    """`* 5 runs on mnist5k: title`."""
    runs = f"{study.runs} runs on {study.data}: " if study.runs else ""
    return f"{'* ' if study.name == in_use else ''}{runs}{study.title}"
