"""Figures of studies with more groups than a reader can tell apart: one collection of marks instead of one artist each.

In such a figure, single seeds, the caps of error bars and a named bar for each group would show no information. The
tables have the numbers of every group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssmlab.analysis.format import number
from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed
from ssmlab.report.accuracy_bars import Bar, accuracy_bar
from ssmlab.report.figure_style import MARKERS, Theme, percent_ticks
from ssmlab.report.training_curves import CurveValues

CROWDED = 24  # groups; more are drawn by this module


class Mark(NamedTuple):
    """A point of a group, which is given by its index in the study."""

    group: int
    x: float
    y: float


def is_crowded(summary: Summary) -> bool:
    """Whether the study has too many groups to draw each on its own."""
    return len(summary.groups) > CROWDED


def draw_marks(axes: Axes, marks: Sequence[Mark], area: float, theme: Theme, clip_on: bool = True) -> None:
    """Draw small open markers, with the colour and the marker of each group."""
    for place, shape in enumerate(MARKERS):
        chosen = [mark for mark in marks if mark.group % len(MARKERS) == place]
        if chosen:
            axes.scatter(
                [mark.x for mark in chosen],
                [mark.y for mark in chosen],
                area,
                marker=shape,
                facecolors=theme.paper,
                edgecolors=[theme.run_colour(mark.group) for mark in chosen],
                linewidths=0.8,
                clip_on=clip_on,
                zorder=3,
            )


def draw_lines(axes: Axes, lines: Sequence[tuple[int, CurveValues]], theme: Theme) -> None:
    """Draw one thin line for each (index of a group, value after every epoch)."""
    paths = [np.column_stack((np.arange(1, len(values) + 1), values)) for _, values in lines]  # (epochs, 2) each
    colours = [theme.run_colour(index) for index, _ in lines]
    axes.add_collection(LineCollection(paths, colors=colours, linewidths=0.8), autolim=False)


def draw_crosses(axes: Axes, points: Sequence[tuple[int, Bar, Bar]], theme: Theme) -> None:
    """Draw the points of clean and robust accuracy, each with a thin pale cross for its two intervals."""
    level = [((clean.low, robust.value), (clean.high, robust.value)) for _, clean, robust in points]
    upright = [((clean.value, robust.low), (clean.value, robust.high)) for _, clean, robust in points]
    colours = [theme.pale(theme.run_colour(index), 0.45) for index, _, _ in points]
    axes.add_collection(LineCollection([*level, *upright], colors=[*colours, *colours], linewidths=0.6, zorder=2))
    draw_marks(axes, [Mark(index, clean.value, robust.value) for index, clean, robust in points], 22, theme)
    axes.autoscale_view()


def ranked_measures(summary: Summary, theme: Theme) -> Figure:
    """Accuracy under every measure, one panel each: all groups in the order of their best checkpoints.

    A coloured dot with an error bar is a best checkpoint, a small grey dot the last one of the same group.
    """
    names = [name for name in summary.measures if summary.every(name)]
    columns = min(len(names), 1 if theme.narrow else 3)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(theme.width, 2.3 * rows + 0.5), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        draw_ranks(axes, summary, name, theme)
        axes.set_title(f"{name} (n = {listed(map(number, sorted({m.n for m in summary.every(name)})), 'or')})")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes in panels[len(names) - columns : len(names)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("rank")
    title = "Accuracy under every measure, from the highest to the lowest; small grey dots: last checkpoints"
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=10, wrap=True)
    return figure


def draw_ranks(axes: Axes, summary: Summary, name: str, theme: Theme) -> None:
    """One panel of `ranked_measures`."""
    bars = [(index, accuracy_bar(summary, group, name, "best")) for index, group in enumerate(summary.groups)]
    ranked = sorted(((index, bar) for index, bar in bars if bar), key=lambda each: -each[1].value)
    last = [accuracy_bar(summary, summary.groups[index], name, "last") for index, _ in ranked]
    dots = [(rank, bar.value) for rank, bar in enumerate(last, 1) if bar]
    colours = [theme.run_colour(index) for index, _ in ranked]
    arms = [((rank, bar.low), (rank, bar.high)) for rank, (_, bar) in enumerate(ranked, 1)]
    axes.add_collection(LineCollection(arms, colors=[theme.pale(ink, 0.5) for ink in colours], linewidths=1.0))
    axes.scatter([rank for rank, _ in dots], [value for _, value in dots], 3, color=theme.grey, linewidths=0, zorder=3)
    axes.scatter(range(1, len(ranked) + 1), [bar.value for _, bar in ranked], 8, color=colours, linewidths=0, zorder=3)
    axes.set_xlim(0, len(summary.groups) + 1)
    axes.autoscale_view(scalex=False)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(percent_ticks())
