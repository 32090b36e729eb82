"""Learning curves: clean and robust validation accuracy over the epochs, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widget import Widget

from ssmlab.artifacts.history import Row
from ssmlab.tui.canvas import Canvas

MARGIN = 4  # columns for the accuracies' labels
MOST_TICKS = 6
LOW = 9  # lines; below it every second accuracy is left out


@dataclass(frozen=True)
class Curve:
    """One run's curves: `rows` of its history, in `colour` (`#rrggbb`), on an axis that ends at `epochs`."""

    colour: str
    rows: tuple[Row, ...]
    epochs: int


class Curves(Horizontal):
    """Two plots with one scale: clean accuracy left, robust accuracy right."""

    def compose(self) -> ComposeResult:
        """The two plots."""
        yield AccuracyPlot("clean accuracy %, validation", lambda row: row.val_clean)
        yield AccuracyPlot("robust accuracy %, validation", lambda row: row.val_robust)

    def show(self, curves: Sequence[Curve]) -> None:
        """Draw these curves, if they are not what is drawn already; the last one lies on top."""
        for plot in self.query(AccuracyPlot):
            plot.show(tuple(curves))


class AccuracyPlot(Widget):
    """One accuracy over the epochs, from 0 to 100 %."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"plot--rule"}

    def __init__(self, title: str, accuracy: Callable[[Row], float]) -> None:
        super().__init__()
        self.border_title = title
        self.accuracy = accuracy
        self.curves: tuple[Curve, ...] = ()

    def show(self, curves: tuple[Curve, ...]) -> None:
        """Draw these curves."""
        if curves != self.curves:
            self.curves = curves
            self.refresh()

    def render(self) -> Text:
        """The curves over faint rules, with labelled axes."""
        epochs = max((curve.epochs for curve in self.curves), default=1)
        canvas = Canvas(max(1, self.size.width - MARGIN), max(1, self.size.height - 1))
        percents = (0, 50, 100) if canvas.height < LOW else (0, 25, 50, 75, 100)
        for percent in percents:
            canvas.rule(percent / 100, self.get_component_rich_style("plot--rule"))
        for curve in self.curves:
            points = [(place(row.epoch, epochs), self.accuracy(row)) for row in curve.rows]
            canvas.line(points, curve.colour)
        labels = {canvas.dot((0.0, percent / 100))[1] // 4: str(percent) for percent in percents}
        text = Text(no_wrap=True)
        for y in range(canvas.height):
            text.append(f"{labels.get(y, ''):>{MARGIN - 1}} ", "dim")
            for character, style in canvas.row(y):
                text.append(character, style)
            text.append("\n")
        return text.append(" " * MARGIN + epoch_axis(canvas, epochs), "dim")


def place(epoch: int, epochs: int) -> float:
    """Where an epoch is on the axis, from 0 (the first) to 1 (the last)."""
    return (epoch - 1) / max(1, epochs - 1)


def epoch_axis(canvas: Canvas, epochs: int) -> str:
    """The labels below the plot, each centred under its epoch as far as the ends allow; none touches another."""
    axis = [" "] * canvas.width
    free_from = 0
    for epoch in epoch_ticks(epochs):
        label = str(epoch)
        middle = canvas.dot((place(epoch, epochs), 0.0))[0] // 2
        start = max(0, min(middle - (len(label) - 1) // 2, canvas.width - len(label)))
        if start >= free_from and start + len(label) <= canvas.width:
            axis[start : start + len(label)] = label
            free_from = start + len(label) + 1
    return "".join(axis)


def epoch_ticks(epochs: int) -> list[int]:
    """Epochs to label: the first, and multiples of the smallest round step that gives a handful."""
    steps = (digit * 10**power for power in range(10) for digit in (1, 2, 5))
    step = next(step for step in steps if epochs <= MOST_TICKS * step)
    return [1, *(epoch for epoch in range(step, epochs + 1, step) if epoch > 1)]
