"""The end of a log file, updated while it grows."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text
from textual.events import Resize
from textual.widgets import RichLog

from ssmlab.project.log import LogFollower
from ssmlab.project.watched_files import FileStamp, file_stamp

MOST_LINES = 2000
TAIL = 64 * 1024  # bytes; older lines can be read in an editor
LONGEST = 4000  # characters of a line; wrapping a line of megabytes would block the screen
POLL = 0.5  # seconds
NO_LOG = "no log yet: r launches the run under the cursor, R all that is out of date"
TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)[-+:\d]*")  # the time of day is enough in a narrow pane


class LogPane(RichLog):
    """Shows one file at a time, and scrolls to its end unless the user has scrolled up."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, max_lines=MOST_LINES, wrap=True, markup=False, highlight=False, min_width=20)
        self.path: Path | None = None
        self.texts: deque[Text] = deque(maxlen=MOST_LINES)  # as in the file, to wrap them again
        self.wrapped_for = 0  # cells
        self.follows_end = True

    def follow(self, path: Path, title: str) -> None:
        """Show this file, starting near its end; until it exists, the title says how to start what writes it."""
        if path == self.path:
            return
        self.path = path
        self.clear()
        self.texts.clear()
        self.follows_end = True
        self.run_worker(self._read(path, title, LogFollower(path, tail=TAIL)), exclusive=True, group="log")

    async def _read(self, path: Path, title: str, follower: LogFollower) -> None:
        seen: FileStamp | str = ""
        while True:
            now = file_stamp(path)
            if now != seen:
                seen = now
                self.border_title = title if path.is_file() else NO_LOG  # set only after a change: it redraws the pane
                lines = await asyncio.to_thread(follower.poll)
                self.add([Text.from_ansi(TIMESTAMP.sub(r"\1", line[:LONGEST])) for line in lines[-MOST_LINES:]])
            await asyncio.sleep(POLL)

    def add(self, texts: Sequence[Text]) -> None:
        """Show more lines, wrapped for the present width; they are kept until the pane has a width."""
        self.texts += texts
        if self.wrapped_for:
            for text in texts:
                self.write(text, width=self.wrapped_for, scroll_end=self.follows_end)

    def on_resize(self, event: Resize) -> None:
        """Wrap all lines again for another width; the end stays in view, unless the user has scrolled up."""
        super().on_resize(event)  # until RichLog knows its size, it keeps lines back, and there is no end to scroll to
        width = self.scrollable_content_region.width
        if width and width != self.wrapped_for:
            self.wrapped_for = width
            self.clear()
            for text in self.texts:
                self.write(text, width=width, scroll_end=False)
        if self.follows_end:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Remember whether the end is in view. A change of size may move it, although nobody has scrolled up."""
        super().watch_scroll_y(old_value, new_value)
        if self.is_vertical_scroll_end:
            self.follows_end = True
        elif new_value < old_value:
            self.follows_end = False
