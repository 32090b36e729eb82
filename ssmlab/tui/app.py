"""`ssmlab tui`: follows the files of a study and launches its stages; never trains by itself."""

from __future__ import annotations

from pathlib import Path

from textual.app import App
from textual.screen import Screen

from ssmlab.tui.study_screen import StudyScreen


class StudyApp(App[None]):
    """The study whose params.yaml lies in `root`."""

    TITLE = "ssmlab"
    CSS_PATH = "app.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-normal"), (140, "-wide")]  # noqa: RUF012 - typed so by Textual

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def get_default_screen(self) -> Screen[None]:
        """The study at a glance."""
        return StudyScreen(self.root)


def run(root: Path) -> None:
    """Show the study in `root` until the user quits; what was launched goes on."""
    StudyApp(root).run()
