"""Keeps the drawn screen as large as the terminal, and draws everything again when the size no longer changes.

Textual 8.2 can lose the last of several sizes. A screen that lays itself out for one size sends itself this size again,
and the message replaces a later size that is still waiting. Under load, the screen then keeps the earlier size, with
remains of earlier drawings, until the next resize. Parts of a drawing can be lost in two other ways: output for the old
size may be written when the terminal already has the new size, and Textual drops output while it replaces widgets.
"""

from __future__ import annotations

import os
import shutil

from textual.app import App
from textual.events import Resize
from textual.geometry import Size
from textual.timer import Timer

SETTLED = 0.3  # seconds without another size; after that, everything is drawn again


def forget_inherited_size() -> None:
    """Remove COLUMNS and LINES from the environment, so that Textual asks the terminal for its size.

    Textual prefers these two variables to the terminal's size, but they do not change with the window. Some shells
    export them, and so do parent processes that use readline (pytest with xdist: 80 and 24).
    """
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


class SizeKeeper(App[None]):
    """An app that receives every size and checks regularly that its screens have it."""

    redraw_timer: Timer | None = None

    def on_resize(self) -> None:
        """Draw everything again, a moment after the last of several sizes."""
        if self.redraw_timer is not None:
            self.redraw_timer.stop()
        self.redraw_timer = self.set_timer(SETTLED, self.draw_whole)

    def draw_whole(self) -> None:
        """Draw every cell of the screen, even cells that Textual considers unchanged."""
        self.redraw_timer = None
        if self.screen_stack:  # empty when the app is closing
            self.keep_size()
            self.screen.refresh()

    def keep_size(self) -> None:
        """Send the terminal's size to the app and to every screen that has another size."""
        size = self.size if self.is_headless else Size(*shutil.get_terminal_size())
        if size != self.size:
            self.post_message(Resize(size, size))
            return
        late = [screen for screen in self.screen_stack if screen.outer_size != size]
        for screen in late:
            screen.post_message(Resize(size, size))
        if late and self.redraw_timer is None:
            self.on_resize()
