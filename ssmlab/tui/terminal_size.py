"""Keeps what is drawn as large as the terminal, and draws it whole once its size has settled.

Textual 8.2 can lose the last of several sizes: a screen that lays itself out for one size sends itself that size again,
and this message takes the place of a later size that waits behind it. Under load the screen then stays at the earlier
size, inside the remains of what was drawn before, until the next resize. Parts of a drawing can be lost too: what was
written for the old size after the terminal had the new one, and what Textual drops while it replaces widgets.
"""

from __future__ import annotations

import os
import shutil

from textual.app import App
from textual.events import Resize
from textual.geometry import Size
from textual.timer import Timer

SETTLED = 0.3  # seconds without another size after which everything is drawn once more


def forget_inherited_size() -> None:
    """Remove COLUMNS and LINES from the environment, so that the terminal itself is asked for its size.

    Textual believes the two before the terminal, and they do not change when the window does. A parent that uses
    readline exports them without being asked (pytest with xdist does: 80 and 24), and so do some shells.
    """
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


class SizeKeeper(App[None]):
    """An app that is told of every size and checks now and then that its screens have it."""

    redraw_timer: Timer | None = None

    def on_resize(self) -> None:
        """Draw everything once more a moment after the last of several sizes."""
        if self.redraw_timer is not None:
            self.redraw_timer.stop()
        self.redraw_timer = self.set_timer(SETTLED, self.draw_whole)

    def draw_whole(self) -> None:
        """Draw every cell of the screen, whatever is thought to stand there already."""
        self.redraw_timer = None
        if self.screen_stack:  # empty once the app has begun to close
            self.keep_size()
            self.screen.refresh()

    def keep_size(self) -> None:
        """Tell the app and its screens the size of the terminal wherever they do not have it."""
        size = self.size if self.is_headless else Size(*shutil.get_terminal_size())
        if size != self.size:
            self.post_message(Resize(size, size))
            return
        late = [screen for screen in self.screen_stack if screen.outer_size != size]
        for screen in late:
            screen.post_message(Resize(size, size))
        if late and self.redraw_timer is None:
            self.on_resize()
