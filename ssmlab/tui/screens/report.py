"""The study's report, rendered; `o` opens report.html."""

from __future__ import annotations

import asyncio
import webbrowser
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Markdown, Static

from ssmlab.core.files import read_file
from ssmlab.core.text import printable_lines
from ssmlab.project.watched_files import FileStamp, file_stamp
from ssmlab.report.table import TextTable
from ssmlab.report.terminal.fitted_table import to_rich
from ssmlab.tui.look import Look
from ssmlab.tui.report_parts import report_parts
from ssmlab.tui.screens.base import BACK, LabScreen

LARGEST_REPORT = 2**20  # bytes; the reports of our studies have less than 200,000
AT_ONCE = 4  # parts that are mounted together
BETWEEN = 0.01  # seconds between parts, in which the terminal is drawn and keys are answered


class ReportScreen(LabScreen):
    """report.md, read again when it changes."""

    heading = "report"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        Binding("n", "section(1)", "next section", tooltip="go to the next heading", id="next-section"),
        Binding("p", "section(-1)", "section before", tooltip="go to the heading before", id="section-before"),
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
        """Read report.md and show it, a few parts at a time: keys are answered while a long one is laid out."""
        if self.look is None or self.look.paths is None:
            return
        text = await self.unless_closed(asyncio.to_thread(report_text, self.look.paths.report_md))
        widgets = [shown_part(part) for part in report_parts(printable_lines(text))]
        area = self.query_one("#report")
        place = area.scroll_y
        with self.app.batch_update():
            await area.remove_children()
            await area.mount_all(widgets[:AT_ONCE])
        for start in range(AT_ONCE, len(widgets), AT_ONCE):
            await self.unless_closed(asyncio.sleep(BETWEEN))
            await area.mount_all(widgets[start : start + AT_ONCE])
        if place:
            area.scroll_to(y=place, animate=False)

    def action_section(self, by: int) -> None:
        """Scroll until the next heading, or the one before, is the first line."""
        area = self.query_one("#report")
        offset = area.scroll_offset.y - area.content_region.y
        tops = [heading.content_region.y + offset for heading in area.query("MarkdownH2")]
        here = area.scroll_offset.y
        others = [top for top in tops if (top > here if by > 0 else top < here)]
        if others or by < 0:
            area.scroll_to(y=(min(others) if by > 0 else max(others, default=0)), animate=False)

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


def report_text(path: Path) -> str:
    """The report, or why it cannot be shown. Every kind of line end becomes a line feed."""
    try:
        text = read_file(path, LARGEST_REPORT).decode(errors="replace")
    except FileNotFoundError:
        return "There is no report yet: press `R` on the screen of runs, or type `ssmlab repro`."
    except OSError as error:
        return f"{path} cannot be shown: {error.strerror or error}. Press `o` for report.html."
    return text.replace("\r\n", "\n").replace("\r", "\n")


def shown_part(part: str | TextTable) -> Widget:
    """A widget for a part of the report."""
    return Markdown(part, open_links=False) if isinstance(part, str) else Static(to_rich(part), classes="table")
