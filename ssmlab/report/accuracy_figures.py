"""The report's figures of accuracies: clean against robust, bars under every measure, RO gap against parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from ssmlab.analysis.format import number
from ssmlab.analysis.seeds import Spread
from ssmlab.analysis.summary import SeedGroup, Summary
from ssmlab.params import Which
from ssmlab.report.accuracy_bars import Bar, accuracy_bar
from ssmlab.report.crowded_figures import draw_crosses, draw_dots, is_crowded, ranked_measures
from ssmlab.report.figure_style import Mark, Theme, draw_marks, marker, percent_ticks
from ssmlab.report.side_labels import ONE_LINE, TWO_LINES, label_beside, named_points

Point = tuple[int, SeedGroup, Bar, Bar]  # a group with its index in the study, and its clean and robust accuracy
BAR = 0.36  # height of a bar; neighbouring runs are 1 apart
BARS: dict[Which, float] = {"best": -BAR / 2, "last": BAR / 2}  # offsets of a run's two bars


def tradeoff(summary: Summary, theme: Theme) -> Figure:
    """Clean against robust accuracy of the best checkpoints, with error bars; marker areas show parameter counts."""
    main = summary.main_attack()
    points = [
        (index, group, clean, robust)
        for index, group in enumerate(summary.groups)
        if (clean := accuracy_bar(summary, group, "clean", "best"))
        and (robust := accuracy_bar(summary, group, main, "best"))
    ]
    figure = Figure(figsize=(theme.width, 4.6), layout="constrained")
    axes = figure.subplots()
    if is_crowded(summary):
        named = [points[i][0] for i in named_points([robust.value for *_, robust in points], TWO_LINES)]
        draw_crosses(axes, [(index, clean, robust) for index, _, clean, robust in points], named, theme)
    else:
        draw_points(axes, points, theme)
    axes.margins(0.08)
    unit = "" if theme.narrow else " parameters"
    labels = [
        (f"{group.name}\n{number(group.parameters)}{unit}", clean.value, robust.value, theme.run_colour(index))
        for index, group, clean, robust in points
    ]
    label_beside(axes, labels, distance=TWO_LINES, theme=theme)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(percent_ticks())
    axes.set(xlabel="clean accuracy", ylabel=f"accuracy under {main}")
    axes.set_title("Clean against robust accuracy")
    return figure


def draw_points(axes: Axes, points: Sequence[Point], theme: Theme) -> None:
    """Draw each point with its error bars; the area of its marker shows the number of parameters."""
    largest = max(group.parameters for _, group, _, _ in points)
    for index, group, clean, robust in points:
        axes.errorbar(
            clean.value,
            robust.value,
            xerr=clean.arms,
            yerr=robust.arms,
            color=theme.run_colour(index),
            linewidth=1.2,
            capsize=3,
        )
        area = 40 + 160 * group.parameters / largest
        axes.scatter(clean.value, robust.value, area, color=theme.run_colour(index), marker=marker(index), zorder=3)
        if group.several:
            pale = theme.pale(theme.run_colour(index), 0.45)
            axes.scatter(clean.seeds, robust.seeds, 14, color=pale, marker=marker(index), zorder=2)


def groups_with_gaps(summary: Summary) -> list[tuple[int, SeedGroup, Spread]]:
    """(index in the study, group, best minus last under the main attack) where that attack judged both checkpoints."""
    main = summary.main_attack()
    return [(index, group, group.gaps[main]) for index, group in enumerate(summary.groups) if main in group.gaps]


def gap_against_parameters(summary: Summary, theme: Theme) -> Figure:
    """The RO gap of every run or group against its number of parameters, with a bar of one standard deviation."""
    figure = Figure(figsize=(theme.width, 3.9), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="parameters", ylabel="best - last, points", xscale="log")
    gaps = groups_with_gaps(summary)
    marks = [Mark(index, float(group.parameters), 100 * gap.mean) for index, group, gap in gaps]
    if is_crowded(summary):
        named = named_points([mark.y for mark in marks], ONE_LINE)
        draw_arms(axes, [(marks[i], gaps[i][2]) for i in named], theme)
        draw_dots(axes, marks, [marks[i].group for i in named], theme)
    else:
        draw_arms(axes, [(mark, gap) for mark, (*_, gap) in zip(marks, gaps, strict=True)], theme)
        draw_marks(axes, marks, 40, theme)
    axes.axhline(0.0, color=theme.grey, linewidth=0.9)
    axes.margins(0.08)
    axes.autoscale_view()
    low, high = axes.get_xlim()
    if high <= 5 * low:  # a logarithmic axis would have no tick at a power of ten, or too many between them
        axes.set_xscale("linear")
        axes.xaxis.set_major_locator(MaxNLocator(3 if theme.narrow else 7))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"RO gap under {summary.main_attack()} against size")
    labels = [
        (group.name, mark.x, mark.y, theme.run_colour(index))
        for mark, (index, group, _) in zip(marks, gaps, strict=True)
    ]
    label_beside(axes, labels, distance=ONE_LINE, theme=theme)
    return figure


def draw_arms(axes: Axes, gaps: Sequence[tuple[Mark, Spread]], theme: Theme) -> None:
    """Draw a bar of one standard deviation of the seeds on each side of a mark."""
    stds = [100 * (gap.std or 0.0) for _, gap in gaps]
    arms = [((mark.x, mark.y - std), (mark.x, mark.y + std)) for (mark, _), std in zip(gaps, stds, strict=True)]
    colours = [theme.run_colour(mark.group) for mark, _ in gaps]
    axes.add_collection(LineCollection(arms, colors=colours, linewidths=1.2))


def measure_bars(summary: Summary, theme: Theme) -> Figure:
    """Accuracy under every measure, one panel each: the best checkpoint, and below it in a paler colour the last."""
    if is_crowded(summary):
        return ranked_measures(summary, theme)
    names = [name for name in summary.measures if summary.every(name)]
    columns = min(len(names), 1 if theme.narrow else 3)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(theme.width, rows * (0.42 * len(summary.groups) + 0.75) + 0.3), layout="constrained")
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        draw_bars(axes, summary, name, theme)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes in panels[len(names) - columns : len(names)]:
        axes.tick_params(labelbottom=True)
    keys = [Patch(color=bar_colour(theme, theme.grey, which), label=f"{which} checkpoint") for which in BARS]
    figure.suptitle("Accuracy under every measure", x=0.01, horizontalalignment="left", fontsize=10)
    # a narrow figure has no room beside its title
    corner: Literal["outside lower left", "outside upper right"]
    corner = "outside lower left" if theme.narrow else "outside upper right"
    figure.legend(handles=keys, loc=corner, ncols=2, frameon=False)
    return figure


def draw_bars(axes: Axes, summary: Summary, name: str, theme: Theme) -> None:
    """One panel: two bars per run or group, each with error bar, value in percent, and a mark for every seed."""
    counts = sorted({measure.n for measure in summary.every(name)})
    for index, group in enumerate(summary.groups):
        for which, offset in BARS.items():
            measure = accuracy_bar(summary, group, name, which)
            if measure:
                place, ends = index + offset, (measure.low, measure.high)
                axes.barh(place, measure.value, BAR, color=bar_colour(theme, theme.run_colour(index), which))
                axes.plot(ends, (place, place), color=theme.ink, linewidth=0.8)
                axes.plot(
                    measure.seeds, [place] * len(measure.seeds), "|", color=theme.ink, markersize=4, markeredgewidth=0.7
                )
                right = max(measure.high, *measure.seeds) if measure.seeds else measure.high
                text = f"{100 * measure.value:.1f}" + (f"  n = {number(measure.n)}" if len(counts) > 1 else "")
                axes.text(right + 0.03, place, text, va="center_baseline", fontsize=7.5 if len(counts) == 1 else 6.5)
    axes.set_title(f"{name} (n = {number(counts[0])})" if len(counts) == 1 else f"{name} (n at each bar)")
    axes.set_yticks(range(len(summary.groups)), [group.name for group in summary.groups])
    axes.set(xlim=(0, 1.22), ylim=(len(summary.groups) - 0.4, -0.6), xticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(percent_ticks())
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def bar_colour(theme: Theme, ink: str, which: Which) -> tuple[float, float, float]:
    """The colour of a bar; paler for the last checkpoint."""
    return theme.pale(ink, 0.0 if which == "best" else 0.55)
