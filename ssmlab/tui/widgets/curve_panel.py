"""Several plots of the same runs, and a legend."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.widget import Widget

from ssmlab.tui import labels
from ssmlab.tui.arrange import TableRow
from ssmlab.tui.series import MEASURES, Curve, CurveMeasure, group_curve, positions, run_curve
from ssmlab.tui.widgets.curve_plot import FEWEST_ROWS, CurvePlot
from ssmlab.tui.widgets.text_line import TextLine

MOST_CURVES = 12  # in one plot; more are hard to tell apart, and drawing them would delay key presses
READABLE_ROWS = 7  # lines: a title, a frame with three rows inside, and the labels of the x axis


def columns_in(width: int) -> int:
    """How many plots fit next to each other in this number of cells."""
    return 1 if width < 60 else 2 if width < 140 else 3


class CurvePanel(Vertical):
    """Plots of several measures of the same rows."""

    def __init__(self, measures: Sequence[str], id: str | None = None) -> None:
        super().__init__(id=id)
        self.measures = [MEASURES[key] for key in measures]
        self.rows: tuple[TableRow, ...] = ()
        self.left_out = 0  # chosen rows that are not drawn
        self.first, self.at_once = 0, len(self.measures)  # the plots that are shown
        self.axis, self.window = "epoch", 1
        self.cursor: float | None = None
        self.made: dict[tuple[str, str], tuple[tuple[object, ...], Curve]] = {}  # (row, measure) -> (inputs, curve)

    def compose(self) -> ComposeResult:
        with Container(classes="plots") as plots:
            self.lay_out(plots, columns_in(self.app.size.width), len(self.measures))
            for measure in self.measures:
                plot = CurvePlot(measure)
                self.fill(plot)
                yield plot
        yield TextLine(classes="legend", text=self.legend())

    def on_resize(self) -> None:
        """Show as many plots as fit in a readable size; `turn` shows the others."""
        plots = list(self.query(CurvePlot))
        columns = columns_in(self.size.width)
        self.at_once = columns * max(1, (self.size.height - 1) // READABLE_ROWS)
        self.first = min(self.first, len(plots) - 1) // self.at_once * self.at_once
        shown = plots[self.first : self.first + self.at_once]
        grid = self.query_one(".plots")
        for widget, wanted in [(grid, self.size.height > FEWEST_ROWS), *((plot, plot in shown) for plot in plots)]:
            if widget.display != wanted:  # an assignment would lay the screen out again, even with the same value
                widget.display = wanted
        self.lay_out(grid, columns, len(shown))
        self.query_one(".legend", TextLine).set(self.legend())

    def lay_out(self, plots: Widget, columns: int, count: int) -> None:
        """Give the grid this number of columns, and rows for this number of plots."""
        columns = min(columns, count)
        plots.styles.grid_size_columns, plots.styles.grid_size_rows = columns, -(-count // columns)

    def turn(self, by: int) -> None:
        """Show the plots before or after those that are shown."""
        self.first = max(0, self.first + by * self.at_once)
        self.on_resize()

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
        colour, marker = labels.curve_colour(row.place), labels.curve_marker(row.place)
        if row.is_group:
            return group_curve(row.name, row.members, measure, self.axis, self.window, colour, marker)
        return run_curve(row.members[0], measure, self.axis, self.window, colour, marker)

    def legend(self) -> Text:
        """`plots 1 to 4 of 6 (↑ ↓)  ● ssm  ■ ads  groups: mean ± std · ★ best · by epoch · mean of 3 epochs`."""
        text = Text(no_wrap=True, overflow="ellipsis")
        if len(self.measures) > max(2, self.at_once):
            last = min(self.first + self.at_once, len(self.measures))
            text.append(f"plots {self.first + 1} to {last} of {len(self.measures)} (↑ ↓)  ", "bold")
        if self.left_out:
            text.append(f"{MOST_CURVES} of {MOST_CURVES + self.left_out} drawn: ", "dim")
        for row in self.rows:
            text.append(f"{labels.curve_marker(row.place)} ", labels.curve_colour(row.place))
            text.append(f"{row.name}  ")
        notes = ["groups: mean ± std"] if any(row.is_group for row in self.rows) else []
        notes += ["★ best", f"by {self.axis}"]
        if self.window > 1:
            notes.append(f"mean of {self.window} epochs")
        text.append(" · ".join(notes), "dim")
        return text
