"""Several plots of the same curves, beside or below each other, and a line that says which curve is which."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from ssmlab.tui import labels
from ssmlab.tui.arrange import Row
from ssmlab.tui.series import MEASURES, Curve, Measure, group_curve, positions, run_curve
from ssmlab.tui.widgets.curve_plot import CurvePlot
from ssmlab.tui.widgets.line import Line

MOST_CURVES = 12  # in one plot; more cannot be told apart, nor drawn between two keys


class CurvePanel(Vertical):
    """The curves of the chosen rows."""

    def __init__(self, measures: Sequence[str], id: str | None = None) -> None:
        super().__init__(id=id)
        self.measures = [MEASURES[key] for key in measures]
        self.rows: tuple[Row, ...] = ()
        self.axis, self.window = "epoch", 1
        self.cursor: float | None = None

    def compose(self) -> ComposeResult:
        """The plots and the legend."""
        with Container(classes="plots"):
            for measure in self.measures:
                yield CurvePlot(measure)
        yield Line(classes="legend")

    def show(self, rows: Sequence[Row], axis: str, window: int, cursor: float | None = None) -> None:
        """Draw these rows, the last on top; what is drawn already is left alone."""
        self.rows, self.axis, self.window, self.cursor = tuple(rows[-MOST_CURVES:]), axis, window, cursor
        if not self.display or not self.size:
            return
        end = self.end()
        for plot in self.query(CurvePlot):
            plot.show([self.curve(row, plot.measure) for row in self.rows], axis, end, cursor)
        self.query_one(".legend", Line).set(self.legend(len(rows)))

    def on_resize(self) -> None:
        """Draw anew in the new size, once the plots have theirs."""
        self.call_after_refresh(self.show, self.rows, self.axis, self.window, self.cursor)

    def end(self) -> float:
        """Where the axis ends: at the last epoch asked for, or the last step or second there is."""
        views = [view for row in self.rows for view in row.members]
        if self.axis == "epoch":
            return float(max((view.status.epochs for view in views), default=1))
        return max((positions(view.status.rows, self.axis)[-1] for view in views if view.status.rows), default=1.0)

    def curve(self, row: Row, measure: Measure) -> Curve:
        """The curve of a run, or of a group."""
        place = row.members[0].place
        colour, marker = labels.curve_colour(place), labels.curve_marker(place)
        if row.is_group:
            return group_curve(row.name, row.members, measure, self.axis, self.window, colour, marker)
        return run_curve(row.members[0], measure, self.axis, self.window, colour, marker)

    def legend(self, chosen: int) -> Text:
        """`● ssm  ■ ads   ★ best   by epoch, mean of 3`; at the cursor the legend of the screen has the values."""
        text = Text(no_wrap=True, overflow="ellipsis")
        for row in self.rows:
            place = row.members[0].place
            text.append(f"{labels.curve_marker(place)} ", labels.curve_colour(place))
            text.append(f"{row.name}{' (mean ± std)' if row.is_group else ''}  ")
        notes = ["★ best", f"by {self.axis}"]
        if self.window > 1:
            notes.append(f"mean of {self.window} epochs")
        if chosen > MOST_CURVES:
            notes.append(f"{MOST_CURVES} of {chosen} drawn")
        text.append(" · ".join(notes), "dim")
        return text
