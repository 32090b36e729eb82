"""Lines of text that are redrawn only if they change."""

from __future__ import annotations

import time

from rich.cells import cell_len
from rich.text import Text
from textual.widgets import Static

NOTICE = 10.0  # seconds that a notice is shown


class TextLine(Static):
    """A line of text."""

    def __init__(self, id: str | None = None, classes: str | None = None, text: str | Text = "") -> None:
        super().__init__(text, id=id, classes=classes, markup=False)
        self.text = text

    def set(self, text: str | Text) -> None:
        """Show this text. The screen is laid out again only if the size of the line may change."""
        if text != self.text:
            width, height = self.styles.width, self.styles.height
            follows_text = width is None or height is None or width.is_auto or height.is_auto
            resized = follows_text and extent(text) != extent(self.text)
            self.text = text
            self.update(text, layout=resized)


def extent(text: str | Text) -> list[int]:
    """The cells of each line."""
    return [cell_len(line) for line in str(text).split("\n")]


class Notice(TextLine):
    """A message above the keys, shown for ten seconds or as long as its cause lasts."""

    def __init__(self) -> None:
        super().__init__(id="notice", classes="silent")
        self.until: float | None = 0.0

    def say(self, text: str, kind: str = "plain", stays: bool = False) -> None:
        """Show a text, or nothing if it is empty; `kind` is plain, good or bad."""
        if not text:
            self.clear()
            return
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
