"""Common parts of all screens: top line, notice, keys, and the latest look at the study."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import ClassVar, TypeVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import ScreenResume
from textual.screen import Screen
from textual.widget import Widget

from ssmlab.params import Params
from ssmlab.tui.lab import Lab
from ssmlab.tui.look import Look
from ssmlab.tui.messages import StudyLooked
from ssmlab.tui.widgets.key_line import KeyLine
from ssmlab.tui.widgets.text_line import Notice
from ssmlab.tui.widgets.top_line import TopLine

Result = TypeVar("Result")


class LabScreen(Screen[None]):
    """A screen of the TUI. `heading` is its name in the top line."""

    heading: ClassVar[str] = ""

    def compose(self) -> ComposeResult:
        """TopLine, body, notice, keys."""
        self.classify_size()
        self.top_line = TopLine(self.heading)
        self.show_heading()
        yield self.top_line
        yield from self.body()
        yield Notice()
        yield KeyLine()

    def classify_size(self) -> None:
        """Set the style classes for the terminal's size before there are widgets, which would all be styled twice."""
        for length, limits in (
            (self.app.size.width, self.app.HORIZONTAL_BREAKPOINTS),
            (self.app.size.height, self.app.VERTICAL_BREAKPOINTS),
        ):
            fitting = [name for least, name in limits or [] if least <= length]
            self.add_class(*fitting[-1:], update=False)

    def body(self) -> Iterable[Widget]:
        """The widgets between the top line and the notice."""
        raise NotImplementedError

    def show_look(self, look: Look) -> None:
        """Draw the study; called after every reading of the files."""

    @property
    def lab(self) -> Lab:
        """The app."""
        return cast("Lab", self.app)

    @property
    def look(self) -> Look | None:
        """The latest look at the study."""
        return self.lab.look

    def params_in_use(self) -> Params | None:
        """The params of the study if it can be changed and run; otherwise None, and a notice says why."""
        look = self.look
        if look is None or look.params is None:
            return None
        if look.foreign:
            self.say(f"{look.params.study} is not the study of params.yaml: press w and use it first", "bad")
            return None
        return look.params

    def on_mount(self) -> None:
        """Draw the latest look at once."""
        if self.look is not None:
            self.show_look(self.look)

    def on_screen_resume(self, event: ScreenResume) -> None:
        """Draw what has changed while another screen was on top. Styles are a moment old when a screen opens."""
        if not self.stack_updates:
            event.refresh_styles = False
        if self.is_mounted and self.look is not None:
            self.show_heading()
            self.show_look(self.look)

    @on(StudyLooked)
    def study_looked(self, event: StudyLooked) -> None:
        event.stop()
        self.show_heading()
        notice = self.query_one(Notice)
        if event.look.problem is not None:
            notice.say(event.look.problem, "bad", stays=True)
        elif notice.until is None:
            notice.clear()
        else:
            notice.fade()
        self.show_look(event.look)

    def show_heading(self) -> None:
        self.top_line.show(self.look, self.lab.launcher.stopping, len(self.lab.alerts))

    async def unless_closed(self, work: Awaitable[Result]) -> Result:
        """The result of `work`; if the screen was closed in the meantime, the worker that waited for it is cancelled.

        Textual cancels it too, but only after it has removed the widgets that the worker would write to.
        """
        try:
            return await work
        finally:
            if not self.query(Notice):
                raise asyncio.CancelledError

    def say(self, text: str, kind: str = "plain") -> None:
        """Show one line above the keys for a while; `kind`: plain, good or bad."""
        self.query_one(Notice).say(text, kind)


BACK: list[BindingType] = [Binding("escape", "app.back", "back", key_display="esc")]
