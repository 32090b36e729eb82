"""One plot of learning curves, drawn by textual-plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

from rich.style import Style
from textual.app import ComposeResult
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.strip import Strip
from textual_hires_canvas import Canvas
from textual_plot import HiResMode, PlotWidget
from textual_plot.plot_widget import VLinePlot

from ssmlab.tui.series import Curve, CurveMeasure, thinned
from ssmlab.tui.widgets.axis_labels import CountFormatter, LogFormatter, PercentFormatter, TimeFormatter

FEWEST_ROWS, FEWEST_COLUMNS = 5, 18  # a smaller plot cannot be read
LEFT = 6  # cells for the labels of the y axis
MARKS = 5  # markers per curve, which distinguish curves without colours


class Sheet(Canvas):
    """A canvas that is not a widget of the screen. A plot draws on three of them, and shows their cells as its lines.

    Six plots then have 18 fewer widgets to be laid out, styled and cropped, so they open faster.
    """

    background = Style()  # of all cells; a canvas on the screen would compute it again for every line

    @property
    def size(self) -> Size:
        """The size that the plot has set."""
        return self._canvas_size or Size()

    @property
    def rich_style(self) -> Style:
        """The style of empty cells."""
        return self.background

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:  # noqa: ARG002
        """Nothing: the plot refreshes itself."""
        return self


class CurvePlot(PlotWidget):
    """One measure of several curves."""

    def __init__(self, measure: CurveMeasure, id: str | None = None) -> None:
        super().__init__(id=id, allow_pan_and_zoom=False)
        self.can_focus = False
        self.measure = measure
        self.border_title = measure.title
        self.curves: tuple[Curve, ...] = ()
        self.axis, self.end = "epoch", 1.0
        self.cursor: float | None = None
        self.sheets = {id: Sheet(1, 1, id=id) for id in ("margin-left", "plot", "margin-bottom")}
        self.drawn: tuple[object, ...] = ()
        self.drawn_cursor: float | None = None
        self.covered: list[tuple[int, int, str, str]] = []  # x, y, character and style of the cells below the cursor

    margin_left = reactive(LEFT)

    def compose(self) -> ComposeResult:
        """No widgets, because the plot itself shows its sheets."""
        return ()

    def query_one(self, selector: str, expect_type: type[Canvas] = Canvas) -> Canvas:  # type: ignore[override]  # noqa: ARG002
        """The sheet that textual-plot asks for, as `#plot`."""
        return self.sheets[selector.removeprefix("#")]

    def _update_margin_sizes(self) -> None:
        """`draw_curves` gives the sheets their sizes."""

    def _update_legend(self) -> None:
        """The legend is outside."""

    def _position_legend(self) -> None:
        """The legend is outside."""

    def _render_x_label(self) -> None:
        """The legend names the x axis."""

    def _render_y_label(self) -> None:
        """The border's title names the y axis."""

    def _rerender(self) -> None:
        """Nothing: `show` says what is to be rendered again."""

    def show(self, curves: Sequence[Curve], axis: str, end: float, cursor: float | None = None) -> None:
        """Show these curves on an x axis up to `end`, the last one on top; only what has changed is rendered again."""
        wanted, present = (tuple(curves), axis, end), (self.curves, self.axis, self.end)
        moved, self.cursor = cursor != self.cursor, cursor
        self.curves, self.axis, self.end = wanted
        if wanted != present or moved:
            self.refresh()

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines of the plot. It is drawn now that its size is known, so it is not rendered a second time."""
        self.draw_once()
        for sheet in self.sheets.values():
            sheet.background = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Line `y` below the border: labels and plot beside each other, and the labels of the x axis last."""
        left, plot, bottom = self.sheets.values()
        if y < plot.size.height:
            return Strip.join([left.render_line(y), plot.render_line(y)])
        return bottom.render_line(y - plot.size.height)

    def draw_once(self) -> None:
        """Draw the plot and its cursor on the sheets, unless they already hold both."""
        colours = tuple(str(self.get_component_rich_style(f"plot--{part}")) for part in ("axis", "tick"))
        wanted = (self.curves, self.axis, self.end, self.size, colours)
        if wanted == self.drawn and self.cursor == self.drawn_cursor:
            return
        if wanted != self.drawn:
            self.drawn = wanted
            self.draw_curves()
        self.draw_cursor()

    def draw_curves(self) -> None:
        """Draw frame, labels and curves in the present size; nothing if there are no curves or no room."""
        self.covered = []
        inside = Size(self.size.width - LEFT, self.size.height - 1)
        for sheet, size in zip(
            self.sheets.values(), (Size(LEFT, inside.height), inside, Size(self.size.width, 1)), strict=True
        ):
            sheet.reset(size=size)
        if not self.curves or self.size.height < FEWEST_ROWS or self.size.width < FEWEST_COLUMNS:
            self._scale_rectangle = Region()
            return
        self._scale_rectangle = Region(1, 1, inside.width - 2, inside.height - 2)
        self.clear()
        self.set_x_formatter(TimeFormatter() if self.axis == "time" else CountFormatter())
        start = min((curve.x[0] for curve in self.curves if curve.x), default=0.0)
        margin = max(self.end - start, 1e-6) / self.size.width  # otherwise the frame hides the first and last marker
        self.set_xlimits(start - margin, max(self.end, start) + margin)
        formatter = LogFormatter() if self.measure.log else PercentFormatter()
        formatter.rows = inside.height
        self.set_y_formatter(formatter)
        if self.measure.percent:
            self.set_ylimits(0.0, 100.0)
        for place, curve in enumerate(self.curves):
            self.draw(curve, place, len(self.curves))
        self._render_plot()

    def draw_cursor(self) -> None:
        """Draw the cursor at its place, and restore the cells that it covered; the curves are not drawn again."""
        canvas = self.sheets["plot"]
        for x, y, character, style in self.covered:
            canvas.set_pixel(x, y, character, style)
        self.covered, self.drawn_cursor = [], self.cursor
        if self.cursor is not None and self._scale_rectangle.width > 0:
            x, _ = self.get_pixel_from_coordinate(self.cursor, self._y_min)
            self.covered = [(x, y, *canvas.get_pixel(x, y)) for y in range(canvas.size.height)]
            self._render_v_line_plot(VLinePlot(self.cursor, "dim"))

    def draw(self, curve: Curve, place: int, of: int) -> None:
        """Draw a curve: its band as dots, its line, its markers, and its best epoch as a star."""
        if not curve.x:
            return
        most = max(16, 2 * self.size.width)
        for side in (curve.low, curve.high):
            if side:
                points = self.scaled(zip(curve.x, side, strict=True))
                dots = thinned(points, most)
                self.scatter(*columns_of(dots), marker_style=curve.colour, hires_mode=HiResMode.BRAILLE)
        points = self.scaled(zip(curve.x, curve.y, strict=True))
        self.plot(*columns_of(thinned(points, most)), line_style=curve.colour, hires_mode=HiResMode.BRAILLE)
        spacing = max(1, len(points) // MARKS)
        marks = points[(place * spacing // max(1, of)) % spacing :: spacing] or points[-1:]
        self.scatter(*columns_of(marks), marker=curve.marker, marker_style=curve.colour)
        best = [point for point in points if curve.best is not None and point[0] == curve.best]
        if best:
            self.scatter(*columns_of(best), marker="★", marker_style=f"bold {curve.colour}")

    def scaled(self, points: object) -> list[tuple[float, float]]:
        """Points in the plot's coordinates: on a log axis log10 of the values above 0."""
        found: list[tuple[float, float]] = list(points)  # type: ignore[call-overload]
        if self.measure.log:
            return [(x, math.log10(y)) for x, y in found if y > 0]
        return found


def columns_of(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """All x and all y."""
    return [x for x, _ in points], [y for _, y in points]
