"""The end of a log file, updated while it grows."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from rich.text import Text
from textual.widgets import RichLog

from ssmlab.project.log import LogFollower
from ssmlab.project.watched_files import FileStamp, file_stamp

TAIL = 64 * 1024  # bytes; older lines can be read in an editor
LONGEST = 4000  # characters of a line; wrapping a line of megabytes would block the screen
POLL = 0.5  # seconds
TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)[-+:\d]*")  # the time of day is enough in a narrow pane


class LogPane(RichLog):
    """Shows one file at a time, and scrolls to its end unless the user has scrolled up."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, max_lines=2000, wrap=True, markup=False, highlight=False, min_width=20)
        self.path: Path | None = None

    def follow(self, path: Path, title: str) -> None:
        """Show this file, beginning near its end."""
        if path == self.path:
            return
        self.border_title = title  # this redraws the pane, so it is set only for another file
        self.path = path
        self.clear()
        self.run_worker(self._read(path, LogFollower(path, tail=TAIL)), exclusive=True, group="log")

    async def _read(self, path: Path, follower: LogFollower) -> None:
        seen: FileStamp | str = ""
        while True:
            now = file_stamp(path)
            if now != seen:
                seen = now
                lines = await asyncio.to_thread(follower.poll)
                at_end = self.is_vertical_scroll_end
                for line in lines[-2000:]:
                    self.write(Text.from_ansi(TIMESTAMP.sub(r"\1", line[:LONGEST])), scroll_end=at_end)
            await asyncio.sleep(POLL)
