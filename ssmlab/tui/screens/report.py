"""The study's report, rendered; `o` opens report.html."""

from __future__ import annotations

import asyncio
import webbrowser
from collections.abc import Iterable
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Markdown, Static

from ssmlab.core.text import printable_lines
from ssmlab.project.watched_files import FileStamp, file_stamp
from ssmlab.report.table import TextTable
from ssmlab.report.terminal.fitted_table import to_rich
from ssmlab.tui.look import Look
from ssmlab.tui.report_parts import report_parts
from ssmlab.tui.screens.base import BACK, LabScreen


class ReportScreen(LabScreen):
    """report.md, read again when it changes."""

    heading = "report"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        Binding("o", "open", "open HTML", tooltip="open report.html in a browser", id="open-html"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.seen: FileStamp | str = ""

    def body(self) -> Iterable[Widget]:
        with VerticalScroll(id="report"):
            yield Static("loading ...", markup=False)

    def on_mount(self) -> None:
        self.query_one("#report").focus()

    def show_look(self, look: Look) -> None:
        """Read the report if it has changed."""
        if look.paths is None:
            return
        seen = file_stamp(look.paths.report_md)
        if seen != self.seen:
            self.seen = seen
            self.read()

    @work(exclusive=True)
    async def read(self) -> None:
        """Read and render report.md."""
        if self.look is None or self.look.paths is None:
            return
        try:
            report = self.look.paths.report_md
            text = await self.unless_closed(asyncio.to_thread(report.read_text, encoding="utf-8", errors="replace"))
        except OSError:
            text = "There is no report yet: press `R` on the screen of runs, or type `ssmlab repro`."
        widgets = [shown_part(part) for part in report_parts(printable_lines(text))]
        area = self.query_one("#report")
        with self.app.batch_update():
            await area.remove_children()
            await area.mount_all(widgets)

    @work(exclusive=True, group="open")
    async def action_open(self) -> None:
        """Open report.html; without a browser, show its path."""
        if self.look is None or self.look.paths is None:
            return
        path = self.look.paths.report_html.resolve()
        if not path.is_file():
            self.say(f"{path}: there is no report yet", "bad")
            return
        opened = await self.unless_closed(asyncio.to_thread(webbrowser.open, path.as_uri()))
        self.say(f"opened {path}" if opened else f"no browser here; the report is {path}")


def shown_part(part: str | TextTable) -> Widget:
    """A widget for a part of the report."""
    return Markdown(part, open_links=False) if isinstance(part, str) else Static(to_rich(part), classes="table")
