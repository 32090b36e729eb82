"""The figure of the tightness of the SSMs' bounds: a violin for every layer of every group of seeds."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.mlab import GaussianKDE
from numpy.typing import NDArray

from ssmlab.analysis.summary import Summary
from ssmlab.report.figure_style import Theme
from ssmlab.report.probe_figures import Found, gains_of

FEWEST = 12  # the least number of values that are drawn as a shape; fewer are drawn as points
MOST = 32  # violins in one figure; if there are more, only some are drawn
POINTS = 60  # points of the outline of a violin
HALF = 0.42  # the largest half height of a violin, in rows


class Violin(NamedTuple):
    """The tightness of one layer in all runs of a group.

    Attributes:
        group: index of the group in the study.
        values: measured error / bound over channels, images and runs, in [0, 1].
        is_shape: whether there are enough different values for an outline; if not, the values are points.
    """

    group: int
    name: str
    values: NDArray[np.float64]
    is_shape: bool

    @property
    def median(self) -> float:
        return float(np.median(self.values))


def violins(summary: Summary, found: Found) -> list[Violin]:
    """The violins in the order of the study, one for each layer of a group, with the values of all its runs."""
    rows = [(index, gains.layer, gains.ratios or gains.tightness or ()) for index, _, gains in gains_of(summary, found)]
    rows.sort(key=lambda row: row[:2])
    drawn = []
    for (index, layer), members in groupby(rows, key=lambda row: row[:2]):
        parts = [part for _, _, part in members]
        values = np.sort(np.concatenate(parts))
        is_shape = min(len(part) for part in parts) >= FEWEST and bool(values[0] < values[-1])
        drawn.append(Violin(index, f"{summary.groups[index].name}, layer {layer}", values, is_shape))
    return drawn


def shown_violins(drawn: list[Violin]) -> list[Violin]:
    """At most MOST violins: those with the highest and the lowest median, and others at equal steps of rank."""
    if len(drawn) <= MOST:
        return drawn
    ranked = sorted(drawn, key=lambda each: -each.median)
    return [ranked[round(i * (len(ranked) - 1) / (MOST - 1))] for i in range(MOST)]


def tightness_violins(summary: Summary, found: Found, theme: Theme) -> Figure:
    """The error of each layer's fixed SSM as a share of its bound: a violin with its quartiles and median."""
    everything = violins(summary, found)
    rows = shown_violins(everything)
    figure = Figure(figsize=(theme.width, 1.2 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        draw_violin(axes, place, row, theme)
    inks = [theme.run_colour(row.group) for row in rows]
    first, middle, third = np.array([np.quantile(row.values, (0.25, 0.5, 0.75)) for row in rows]).T
    places = range(len(rows))
    axes.hlines(places, first, third, colors=inks, linewidth=3.0, zorder=3)
    axes.scatter(middle, places, 26, facecolors=theme.paper, edgecolors=inks, linewidths=1.2, zorder=4)
    axes.set_yticks(places, [row.name for row in rows])
    label = "measured error / bound"
    if len(rows) < len(everything):
        label += f"\n{len(rows)} of {len(everything)} layers, in the order of their medians"
    axes.set(xlim=(0, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel=label, title="Tightness under attack")
    return figure


def draw_violin(axes: Axes, place: int, row: Violin, theme: Theme) -> None:
    """Draw the outline of the values in a row, or the values as points."""
    colour = theme.run_colour(row.group)
    if row.is_shape:
        along = np.linspace(row.values[0], row.values[-1], POINTS)
        height = outline(row.values, along)
        fill = theme.pale(colour, 0.5)
        axes.fill_between(along, place - height, place + height, facecolor=fill, edgecolor=colour, linewidth=0.8)
    else:
        axes.plot(row.values, np.full(len(row.values), place), ".", color=colour, markersize=5)


def outline(values: NDArray[np.float64], along: NDArray[np.float64]) -> NDArray[np.float64]:
    """The half height of a violin at the positions `along`: a Gaussian density estimate with Scott's bandwidth."""
    density = GaussianKDE(values).evaluate(along)
    return np.asarray(HALF * density / density.max())
