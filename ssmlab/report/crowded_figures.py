"""Figures of studies with more groups than a reader can tell apart: only the groups that a figure names have colours.

All others are grey, without error bars, and are one matplotlib artist. The tables have the numbers of every group.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ssmlab.analysis.format import number
from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed
from ssmlab.report.accuracy_bars import Bar, accuracy_bar
from ssmlab.report.figure_style import PALETTE, Mark, Theme, percent_ticks
from ssmlab.report.training_curves import CurvePoints

CROWDED = 24  # groups; more are drawn by this module
GREY = 0.55  # share of the background in the grey of groups without a name


def is_crowded(summary: Summary) -> bool:
    """Whether the study has too many groups to draw each on its own."""
    return len(summary.groups) > CROWDED


def draw_lines(axes: Axes, lines: Sequence[CurvePoints], named: Collection[int], theme: Theme) -> None:
    """Draw a line for each group; `named` are the indices of the groups with a colour."""
    others = [line for index, line in enumerate(lines) if index not in named]
    if others:
        axes.plot(*one_path(others).T, color=theme.pale(theme.grey, GREY), linewidth=0.6, zorder=1.5)
    colours = [theme.run_colour(index) for index in named]
    shown = LineCollection([lines[index] for index in named], colors=colours, linewidths=1.2, zorder=2)
    axes.add_collection(shown, autolim=False)


def one_path(lines: Sequence[CurvePoints]) -> NDArray[np.float64]:
    """Several lines as the points of one, with a point of NaN after each, where nothing is drawn; (points, 2)."""
    gap = np.full((1, 2), np.nan)  # (1, 2)
    return np.concatenate([part for line in lines for part in (line, gap)])  # (points, 2)


def draw_dots(axes: Axes, marks: Sequence[Mark], named: Collection[int], theme: Theme) -> None:
    """Draw a dot for each mark, and a circle in colour for those of the groups in `named`."""
    others = [(mark.x, mark.y) for mark in marks if mark.group not in named]
    shown = [mark for mark in marks if mark.group in named]
    if others:
        axes.plot(*zip(*others, strict=True), ".", color=theme.pale(theme.grey, GREY), markersize=4, clip_on=False)
    colours = [theme.run_colour(mark.group) for mark in shown]
    x, y = [mark.x for mark in shown], [mark.y for mark in shown]
    axes.scatter(x, y, 16, facecolors=theme.paper, edgecolors=colours, linewidths=1.0, clip_on=False, zorder=3)


def draw_crosses(axes: Axes, points: Sequence[tuple[int, Bar, Bar]], named: Collection[int], theme: Theme) -> None:
    """Draw the points of clean and robust accuracy; those of named groups have a thin cross for their two intervals."""
    shown = [each for each in points if each[0] in named]
    level = [((clean.low, robust.value), (clean.high, robust.value)) for _, clean, robust in shown]
    upright = [((clean.value, robust.low), (clean.value, robust.high)) for _, clean, robust in shown]
    colours = [theme.pale(theme.run_colour(index), 0.45) for index, _, _ in shown]
    axes.add_collection(LineCollection([*level, *upright], colors=[*colours, *colours], linewidths=0.8, zorder=2.5))
    draw_dots(axes, [Mark(index, clean.value, robust.value) for index, clean, robust in points], named, theme)
    axes.autoscale_view()


def ranked_measures(summary: Summary, theme: Theme) -> Figure:
    """Accuracy under every measure, one panel each: all groups in the order of their best checkpoints.

    A blue dot with a grey error bar is a best checkpoint, a small grey dot the last one of the same group.
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
    bars = [(group, accuracy_bar(summary, group, name, "best")) for group in summary.groups]
    ranked = sorted(((group, bar) for group, bar in bars if bar), key=lambda each: -each[1].value)
    last = [accuracy_bar(summary, group, name, "last") for group, _ in ranked]
    arms = [np.array(((rank, bar.low), (rank, bar.high))) for rank, (_, bar) in enumerate(ranked, 1)]  # (2, 2) each
    axes.plot(*one_path(arms).T, color=theme.pale(theme.grey, GREY), linewidth=1.0)
    dots = [(rank, bar.value) for rank, bar in enumerate(last, 1) if bar]
    if dots:
        axes.plot(*zip(*dots, strict=True), ".", color=theme.grey, markersize=2.5)
    axes.plot(range(1, len(ranked) + 1), [bar.value for _, bar in ranked], ".", color=PALETTE[0], markersize=4.5)
    axes.set_xlim(0, len(summary.groups) + 1)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(percent_ticks())
