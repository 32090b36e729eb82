"""Lines of text that are redrawn only if they change."""

from __future__ import annotations

import time

from rich.text import Text
from textual.widgets import Static

NOTICE = 10.0  # seconds that a notice is shown


class TextLine(Static):
    """A line of text."""

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes, markup=False)
        self.text: str | Text = ""

    def set(self, text: str | Text) -> None:
        if text != self.text:
            self.text = text
            self.update(text)


class Notice(TextLine):
    """A message above the keys, shown for ten seconds or as long as its cause lasts."""

    def __init__(self) -> None:
        super().__init__(id="notice", classes="silent")
        self.until: float | None = 0.0

    def say(self, text: str, kind: str = "plain", stays: bool = False) -> None:
        """Show a text; `kind` is plain, good or bad."""
        self.set(text)
        self.set_classes(kind)
        self.until = None if stays else time.monotonic() + NOTICE

    def fade(self) -> None:
        """Hide the text if its time has passed."""
        if self.until is not None and time.monotonic() > self.until and self.text:
            self.clear()

    def clear(self) -> None:
        self.set("")
        self.set_classes("silent")
        self.until = 0.0
