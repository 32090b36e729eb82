"""The curves of the marked runs, large: accuracies, loss and learning rate, with a cursor that reads all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget

from ssmlab.tui import labels
from ssmlab.tui.follower import Look
from ssmlab.tui.screens.base import BACK, LabScreen
from ssmlab.tui.screens.study import StudyScreen
from ssmlab.tui.series import AXES, MEASURES, SMOOTHING
from ssmlab.tui.widgets.curve_panel import CurvePanel
from ssmlab.tui.widgets.line import Line

SHOWN = ("clean", "robust", "loss", "lr")
STEPS = 50  # of the cursor along an axis that is not in epochs


class CurvesScreen(LabScreen):
    """Four plots; the arrows move one cursor through all of them."""

    heading = "curves"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        Binding("left", "read(-1)", "cursor left", show=False, tooltip="read the curves an epoch earlier"),
        Binding("right", "read(1)", "cursor right", show=False, tooltip="read the curves an epoch later"),
        Binding("home", "read(-100000)", "cursor to start", show=False),
        Binding("end", "read(100000)", "cursor to end", show=False),
        Binding("x", "axis", "x axis", tooltip="by epoch, step or time"),
        Binding("m", "smooth", "smooth", tooltip="as they are, or as moving means of 3, 7, 15 epochs"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.cursor: float | None = None

    def body(self) -> Iterable[Widget]:
        """The plots, and below them what the cursor reads."""
        yield CurvePanel(SHOWN, id="large-curves")
        yield Line(id="reading")

    def show_look(self, look: Look) -> None:  # noqa: ARG002 - the rows of the runs screen carry what it holds
        """Draw the rows that are chosen on the screen of runs."""
        runs = self.app.screen_stack[0]
        if isinstance(runs, StudyScreen):
            preferences = self.lab.preferences
            panel = self.query_one(CurvePanel)
            panel.show(runs.chosen_rows(), preferences.axis, preferences.window, self.cursor)
            self.query_one("#reading", Line).set(self.readings(panel))

    def readings(self, panel: CurvePanel) -> Text:
        """The value of every curve at the cursor, a row a line; a hint where there is no cursor."""
        text = Text(no_wrap=True, overflow="ellipsis")
        if self.cursor is None:
            return text.append("← → read the curves at one place", "dim")
        where = labels.duration(self.cursor) if panel.axis == "time" else f"{self.cursor:.0f}"
        text.append(f"{panel.axis} {where}\n", "bold")
        for row in panel.rows:
            text.append(f"{labels.curve_marker(row.members[0].place)} {row.name:<20.20}")
            for key in SHOWN:
                value = panel.curve(row, MEASURES[key]).at(self.cursor)
                shown = labels.NOTHING if value is None else f"{value:.1f}" if MEASURES[key].percent else f"{value:.3g}"
                text.append(f"  {key} {shown}")
            text.append("\n")
        text.right_crop(1)
        return text

    def action_read(self, by: int) -> None:
        """Move the cursor by so many epochs, or by a fiftieth of another axis."""
        panel = self.query_one(CurvePanel)
        end = panel.end()
        step = 1.0 if panel.axis == "epoch" else end / STEPS
        start = end if self.cursor is None and by < 0 else (self.cursor or 0.0) + by * step
        first = 1.0 if panel.axis == "epoch" else 0.0
        self.cursor = min(max(start, first), end)
        self.redraw()

    def action_axis(self) -> None:
        """The next axis; the cursor, which was a place on the last one, goes."""
        preferences = self.lab.preferences
        preferences.axis = AXES[(AXES.index(preferences.axis) + 1) % len(AXES)] if preferences.axis in AXES else AXES[0]
        self.cursor = None
        self.redraw()

    def action_smooth(self) -> None:
        """The next width of the moving mean."""
        preferences = self.lab.preferences
        preferences.window = next((window for window in SMOOTHING if window > preferences.window), SMOOTHING[0])
        self.redraw()

    def redraw(self) -> None:
        """Draw again what was seen last."""
        if self.look is not None:
            self.show_look(self.look)
