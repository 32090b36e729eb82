"""Several plots of the same runs, and a legend."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical

from ssmlab.tui import labels
from ssmlab.tui.arrange import TableRow
from ssmlab.tui.series import MEASURES, Curve, CurveMeasure, group_curve, positions, run_curve
from ssmlab.tui.widgets.curve_plot import CurvePlot
from ssmlab.tui.widgets.text_line import TextLine

MOST_CURVES = 12  # in one plot; more are hard to tell apart, and drawing them would delay key presses


class CurvePanel(Vertical):
    """Plots of several measures of the same rows."""

    def __init__(self, measures: Sequence[str], id: str | None = None) -> None:
        super().__init__(id=id)
        self.measures = [MEASURES[key] for key in measures]
        self.rows: tuple[TableRow, ...] = ()
        self.left_out = 0  # chosen rows that are not drawn
        self.axis, self.window = "epoch", 1
        self.cursor: float | None = None
        self.made: dict[tuple[str, str], tuple[tuple[object, ...], Curve]] = {}  # (row, measure) -> (inputs, curve)

    def compose(self) -> ComposeResult:
        with Container(classes="plots"):
            for measure in self.measures:
                plot = CurvePlot(measure)
                self.fill(plot)
                yield plot
        yield TextLine(classes="legend", text=self.legend())

    def show(self, rows: Sequence[TableRow], axis: str, window: int, cursor: float | None = None) -> None:
        """Show these rows, the last one on top; plots that already show them are not drawn again."""
        self.rows, self.left_out = tuple(rows[-MOST_CURVES:]), max(0, len(rows) - MOST_CURVES)
        self.axis, self.window, self.cursor = axis, window, cursor
        for plot in self.query(CurvePlot):
            self.fill(plot)
        for legend in self.query(TextLine):
            legend.set(self.legend())

    def fill(self, plot: CurvePlot) -> None:
        """Give a plot its curves, which it draws when it is rendered."""
        plot.show([self.curve(row, plot.measure) for row in self.rows], self.axis, self.end(), self.cursor)

    def end(self) -> float:
        """The end of the axis: the last epoch that the settings ask for, or the last step or second so far."""
        views = [view for row in self.rows for view in row.members]
        if self.axis == "epoch":
            return float(max((view.status.epochs for view in views), default=1))
        return max((positions(view.status.rows, self.axis)[-1] for view in views if view.status.rows), default=1.0)

    def curve(self, row: TableRow, measure: CurveMeasure) -> Curve:
        """The curve of a run or group; computed again only if its runs, the axis or the smoothing have changed."""
        wanted = (row.members, row.is_group, self.axis, self.window)
        made_of, curve = self.made.get((row.key, measure.key), (None, None))
        if curve is None or made_of != wanted:
            curve = self.make_curve(row, measure)
            self.made[row.key, measure.key] = (wanted, curve)
        return curve

    def make_curve(self, row: TableRow, measure: CurveMeasure) -> Curve:
        """The curve of a run, or of a group."""
        place = row.members[0].place
        colour, marker = labels.curve_colour(place), labels.curve_marker(place)
        if row.is_group:
            return group_curve(row.name, row.members, measure, self.axis, self.window, colour, marker)
        return run_curve(row.members[0], measure, self.axis, self.window, colour, marker)

    def legend(self) -> Text:
        """`● ssm  ■ ads  ★ best · by epoch · mean of 3 epochs`."""
        text = Text(no_wrap=True, overflow="ellipsis")
        if self.left_out:
            text.append(f"{MOST_CURVES} of {MOST_CURVES + self.left_out} drawn: ", "dim")
        for row in self.rows:
            place = row.members[0].place
            text.append(f"{labels.curve_marker(place)} ", labels.curve_colour(place))
            text.append(f"{row.name}{' (mean ± std)' if row.is_group else ''}  ")
        notes = ["★ best", f"by {self.axis}"]
        if self.window > 1:
            notes.append(f"mean of {self.window} epochs")
        text.append(" · ".join(notes), "dim")
        return text
