"""The interface of the app for its screens. It is a separate module because the app imports the screens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssmlab.project.launched import Launched
from ssmlab.tui.alerts import Alert
from ssmlab.tui.launcher import Launcher
from ssmlab.tui.look import Look
from ssmlab.tui.preferences import Preferences
from ssmlab.tui.terminal_life import OutlivesStops
from ssmlab.tui.terminal_size import SizeKeeper
from ssmlab.tui.widgets.picture import PixelWidget


class Lab(SizeKeeper, OutlivesStops):
    """The app, as screens see it.

    Attributes:
        root: the folder that contains params.yaml.
        look: the latest look at the study; None before the first one.
        alerts: the alerts of that look.
        pixel_widget: draws pictures in terminals that can show pixels; None in others.
    """

    root: Path
    preferences: Preferences
    launcher: Launcher
    look: Look | None
    alerts: Sequence[Alert]
    pixel_widget: type[PixelWidget] | None

    def show_study(self, name: str | None) -> None:
        """Follow another study in studies/; None follows the study of params.yaml."""
        raise NotImplementedError

    def take_launch(self, launched: Launched) -> None:
        """Show a launch immediately, before the next look finds it."""
        raise NotImplementedError

    def compare(self, names: list[str]) -> None:
        """Show runs, groups or checkpoints side by side."""
        raise NotImplementedError

    def back_to_runs(self) -> None:
        """Close every screen above the table of runs."""
        raise NotImplementedError
