"""Figures of token attacks: accuracy with one changed patch, by position in the sequence and as maps of the image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from statistics import fmean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssmlab.analysis.format import attack_label
from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed, percent
from ssmlab.evaluation.token_map import TokenMap
from ssmlab.params import TokenParams
from ssmlab.report.blocks import Picture
from ssmlab.report.figure_style import Theme, draw_files, percent_ticks
from ssmlab.report.heat_map import draw_heat_map
from ssmlab.report.side_labels import ONE_LINE, label_beside

MOST_WRITTEN = 8  # columns of a map; with more columns, the numbers do not fit into the cells


class GroupMap(NamedTuple):
    """The token map of a group of seeds.

    Attributes:
        place, name: index and name of the group in the study.
        first: the map of its first run; all maps of the group have the same size.
        accuracies: accuracy with one changed patch for each position, row by row, as the mean over seeds.
        scan: when each position is read, from 0 (start of the sequence) to 1 (end).
    """

    place: int
    name: str
    first: TokenMap
    accuracies: list[float]
    scan: tuple[float, ...]

    @property
    def in_order(self) -> list[tuple[float, float]]:
        """(place in the scan, accuracy), sorted by place; patches with the same place are averaged."""
        read: dict[float, list[float]] = {}
        for place, accuracy in zip(self.scan, self.accuracies, strict=True):
            read.setdefault(place, []).append(accuracy)
        return [(place, fmean(read[place])) for place in sorted(read)]

    @property
    def weakest(self) -> tuple[int, int]:
        """The row and the column, from 1, of the position with the lowest accuracy."""
        lowest = self.accuracies.index(min(self.accuracies))
        return lowest // self.first.columns + 1, lowest % self.first.columns + 1


def group_maps(summary: Summary) -> list[GroupMap]:
    """The groups in which every run's best checkpoint was attacked at every position."""
    found = []
    for index, group in enumerate(summary.groups):
        runs = summary.members(group)
        maps = [each.token_map for run in runs if (each := run.checkpoints.get("best")) and each.token_map]
        if len(maps) == len(runs) and all(run.scan == runs[0].scan for run in runs):
            means = [fmean(values) for values in zip(*(each.accuracies for each in maps), strict=True)]
            found.append(GroupMap(index, group.name, maps[0], means, runs[0].scan))
    return found


def token_pictures(summary: Summary) -> Iterator[Picture]:
    """The curve over the scan and the maps; nothing if no attack tried every position."""
    found = group_maps(summary)
    if not found:
        return
    specs = sorted(summary.protocol.attacks.items())
    label = next(
        attack_label(name, spec) for name, spec in specs if isinstance(spec, TokenParams) and spec.positions == "all"
    )
    first = found[0].first
    lowest = listed(
        f"{each.name} {percent(min(each.accuracies))} in row {each.weakest[0]}, column {each.weakest[1]}"
        for each in found
    )
    means = ", means over seeds" if summary.several_seeds else ""
    yield Picture(
        "scan",
        draw_files(partial(scan_curves, found)),
        "Line chart of accuracy with one changed patch against the patch's place in the scan, one line per run. The "
        f"lowest accuracies are: {lowest}.",
        f"Accuracy of the best checkpoints (n = {first.n}{means}) with one changed patch, by the position at which the "
        f"model reads this patch: first token left, last token right ({label}). A model that forgets early tokens is "
        "broken by late ones. But any model is, if the late tokens contain most of the information: compare other "
        "orders of tokens, and attention.",
    )
    yield Picture(
        "scan-maps",
        draw_files(partial(scan_maps, found)),
        "Heat maps of accuracy with one changed patch, at the patch's place in the image, one map per run. The lowest "
        f"accuracies are: {lowest}.",
        f"The same accuracies at the patches' places in the image ({first.rows} x {first.columns} patches of "
        f"{first.patch} x {first.patch} pixels).",
    )


def scan_curves(found: list[GroupMap], theme: Theme) -> Figure:
    """Accuracy with one changed patch against the patch's place in the scan, one line per group."""
    figure = Figure(figsize=(theme.width, 3.9), layout="constrained")
    axes = figure.subplots()
    labels = []
    for each in found:
        places, accuracies = zip(*each.in_order, strict=True)
        axes.plot(places, accuracies, color=theme.run_colour(each.place), linewidth=1.5)
        labels.append((each.name, places[-1], accuracies[-1], theme.run_colour(each.place)))
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="place in the scan", ylabel="accuracy with one patch changed")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(percent_ticks())
    axes.set_title("One changed patch, by where it is read")
    label_beside(axes, labels, distance=ONE_LINE, theme=theme)
    return figure


def scan_maps(found: list[GroupMap], theme: Theme) -> Figure:
    """One heat map per group: accuracy with one changed patch, at its place in the image."""
    columns = 2 if theme.narrow else 4
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(theme.width, 0.4 + rows * (theme.width / columns + 0.1)), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, each in zip(panels, found, strict=False):
        width = each.first.columns
        starts = range(0, len(each.accuracies) + 1, width)
        grid = [each.accuracies[start:end] for start, end in pairwise(starts)]
        image = draw_heat_map(axes, grid, theme, written=width <= MOST_WRITTEN and not theme.narrow)
        axes.set(aspect="equal", xticks=(), yticks=(), title=each.name)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=panels, shrink=0.7, format=percent_ticks())
    bar.outline.set_visible(False)
    return figure
