"""The curves of the marked runs, large: accuracies, losses and learning rate, with a cursor that reads all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget

from ssmlab.tui import labels
from ssmlab.tui.arrange import TableRow
from ssmlab.tui.look import Look
from ssmlab.tui.readings import CurveReading, readings_table
from ssmlab.tui.screens.base import BACK, LabScreen
from ssmlab.tui.screens.study import StudyScreen
from ssmlab.tui.series import MEASURES, CurveMeasure
from ssmlab.tui.widgets.curve_panel import CurvePanel
from ssmlab.tui.widgets.text_line import TextLine

SHOWN = ("clean", "robust", "train", "loss", "val_loss", "lr")
STEPS = 50  # cursor steps along an axis of steps or time


class CurvesScreen(LabScreen):
    """Six plots; the arrows move one cursor through all of them."""

    heading = "curves"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        Binding("left", "read(-1)", "cursor left", show=False, tooltip="move the cursor one epoch back"),
        Binding("right", "read(1)", "cursor right", show=False, tooltip="move the cursor one epoch forward"),
        Binding("home", "read(-100000)", "cursor to start", show=False),
        Binding("end", "read(100000)", "cursor to end", show=False),
        Binding("up", "turn(-1)", "plots before", show=False, tooltip="if only some of the plots fit"),
        Binding("down", "turn(1)", "next plots", show=False, tooltip="if only some of the plots fit"),
        Binding("x", "axis", "x axis", tooltip="by epoch, step or time"),
        Binding("m", "smooth", "smooth", tooltip="the values themselves, or moving means over 3, 7, 15 epochs"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.cursor: float | None = None

    def body(self) -> Iterable[Widget]:
        """The plots, and below them the values at the cursor."""
        panel = CurvePanel(SHOWN, id="large-curves")
        self.choose(panel)
        yield panel
        yield TextLine(id="reading", text=self.readings(panel))

    def show_look(self, look: Look) -> None:  # noqa: ARG002 - the rows of the table hold the same runs
        """Draw the rows that are chosen in the table of runs."""
        panel = self.query_one(CurvePanel)
        self.choose(panel)
        self.query_one("#reading", TextLine).set(self.readings(panel))

    def choose(self, panel: CurvePanel) -> None:
        """Give the plots the rows that are chosen in the table of runs."""
        runs = self.app.screen_stack[0]
        if isinstance(runs, StudyScreen):
            preferences = self.lab.preferences
            panel.show(runs.chosen_rows(), preferences.axis, preferences.window, self.cursor)

    def readings(self, panel: CurvePanel) -> Text:
        """The values at the cursor, or without a cursor the latest ones; the run under the table's cursor comes first.

        The number of lines is the same in both cases, so that the plots keep their size.
        """
        if self.cursor is None:
            place = "latest"
        else:
            place = (
                f"{panel.axis} {labels.short_duration(self.cursor) if panel.axis == 'time' else f'{self.cursor:.0f}'}"
            )
        found = []
        for row in reversed(panel.rows):
            values = tuple(self.value(panel, row, MEASURES[key]) for key in SHOWN)
            found.append(CurveReading(labels.curve_marker(row.place), labels.curve_colour(row.place), row.name, values))
        return readings_table(place, SHOWN, found, self.app.size.width - 2)

    def value(self, panel: CurvePanel, row: TableRow, measure: CurveMeasure) -> str:
        """The value of a curve at the cursor, or its latest one."""
        curve = panel.curve(row, measure)
        value = curve.at(self.cursor) if self.cursor is not None else curve.y[-1] if curve.y else None
        return labels.NOTHING if value is None else f"{value:.1f}" if measure.percent else f"{value:.3g}"

    def on_resize(self) -> None:
        """Choose the columns of the readings again."""
        self.query_one("#reading", TextLine).set(self.readings(self.query_one(CurvePanel)))

    def action_turn(self, by: int) -> None:
        """Show the plots that have no room beside these."""
        self.query_one(CurvePanel).turn(by)

    def action_read(self, by: int) -> None:
        """Move the cursor by epochs, or by fiftieths of another axis."""
        panel = self.query_one(CurvePanel)
        end = panel.end()
        step = 1.0 if panel.axis == "epoch" else end / STEPS
        start = end if self.cursor is None and by < 0 else (self.cursor or 0.0) + by * step
        first = 1.0 if panel.axis == "epoch" else 0.0
        self.cursor = min(max(start, first), end)
        self.redraw()

    def action_axis(self) -> None:
        """Switch to the next axis and remove the cursor, because its position belongs to the old axis."""
        self.lab.preferences.next_axis()
        self.cursor = None
        self.redraw()

    def action_smooth(self) -> None:
        """Switch to the next width of the moving mean."""
        self.lab.preferences.next_window()
        self.redraw()

    def redraw(self) -> None:
        """Draw the latest look again."""
        if self.look is not None:
            self.show_look(self.look)
