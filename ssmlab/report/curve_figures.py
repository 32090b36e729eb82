"""The report's curves: against the epochs of the trainings, and against the radius of the ball."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from ssmlab.analysis.summary import SeedGroup, Summary
from ssmlab.report.crowded_figures import draw_dots, draw_lines, is_crowded
from ssmlab.report.figure_style import Mark, Theme, marker, percent_ticks, two_panels
from ssmlab.report.side_labels import ONE_LINE, label_beside, named_points
from ssmlab.report.training_curves import CurvePoints, CurveValues, TrainingCurves, curve_points, epochs_per_point

STEP_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
LEAST_STEPS = 20  # a curve over steps is drawn only for a PGD with at least this many steps


# The index of a group in the study, its name, and the x and the accuracies of its curve, of equal length.
AccuracyCurve = tuple[int, str, Sequence[float], Sequence[float]]


def learning_curves(summary: Summary, curves: TrainingCurves, theme: Theme) -> Figure:
    """Validation accuracy of every run after every epoch, clean and robust; a marker shows the best epoch.

    With several seeds, thin lines are single seeds and a thick line is their mean, up to the epoch that all have
    reached.
    """
    figure, (left, right) = two_panels(theme, sharey=True)
    for axes, shown in ((left, curves.clean), (right, curves.robust)):
        draw_curves(axes, summary, shown, theme, (0.0, 1.0))
        axes.yaxis.set_major_formatter(percent_ticks())
    left.set(title="Clean images, after every epoch", ylabel="accuracy on the selection split")
    right.set(title="Attacked images, after every epoch")
    return figure


def overfitting_curves(summary: Summary, curves: TrainingCurves, theme: Theme) -> Figure:
    """Robust accuracy on training minus validation images, and the robust loss on validation images."""
    figure, (left, right) = two_panels(theme)
    for axes, shown in ((left, curves.gaps), (right, curves.losses)):
        low, high = min(map(np.min, shown.values())), max(map(np.max, shown.values()))
        room = 0.1 * (high - low) or 0.05
        draw_curves(axes, summary, shown, theme, (low - room, high + room))
    left.axhline(0.0, color=theme.grey, linewidth=0.8)
    left.yaxis.set_major_formatter(percent_ticks(symbol=""))
    left.set(title="Training - validation", ylabel="points of robust accuracy")
    right.set(title="Robust loss on validation images", ylabel="cross entropy")
    return figure


def draw_curves(
    axes: Axes, summary: Summary, curves: Mapping[str, CurveValues], theme: Theme, limits: tuple[float, float]
) -> None:
    """One line per run; for a group, one thin line per seed and a thick line for the mean. Names are at the ends.

    Of many groups only the means are drawn, thin. A long curve is drawn as means of several epochs.
    """
    longest, size = max(map(len, curves.values())), epochs_per_point(curves)
    axes.set(ylim=limits, xlabel="epoch", xlim=(1 - 0.02 * longest, longest * 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    means = [curve_points(mean_curve([curves[run] for run in group.runs]), size) for group in summary.groups]
    if is_crowded(summary):
        named = named_points([mean[-1, 1] for mean in means], ONE_LINE)
        draw_lines(axes, means, named, theme)
        draw_dots(axes, best_epochs(summary, curves), named, theme)
    else:
        draw_each_group(axes, summary, curves, means, theme)
    labels = [
        (group.name, *mean[-1], theme.run_colour(index))
        for index, (group, mean) in enumerate(zip(summary.groups, means, strict=True))
    ]
    label_beside(axes, labels, distance=ONE_LINE, theme=theme)


def mean_curve(lines: Sequence[CurveValues]) -> CurveValues:
    """The mean of the curves, up to the epoch that all have reached."""
    shortest = min(map(len, lines))
    mean: CurveValues = np.mean([line[:shortest] for line in lines], axis=0)  # (epochs,)
    return mean


def best_epochs(summary: Summary, curves: Mapping[str, CurveValues]) -> list[Mark]:
    """The point of every run's curve at its best epoch, if the curve has it."""
    return [
        Mark(index, best.epoch, curves[run.name][best.epoch - 1])
        for index, group in enumerate(summary.groups)
        for run in summary.members(group)
        if (best := run.checkpoints.get("best")) and best.epoch and best.epoch <= len(curves[run.name])
    ]


def draw_each_group(
    axes: Axes,
    summary: Summary,
    curves: Mapping[str, CurveValues],
    means: Sequence[CurvePoints],
    theme: Theme,
) -> None:
    """Draw the thin lines of the seeds, the thick line of their mean, and a marker at every best epoch."""
    marks, size = best_epochs(summary, curves), epochs_per_point(curves)
    for index, (group, mean) in enumerate(zip(summary.groups, means, strict=True)):
        if group.several:
            for run in group.runs:
                pale = theme.pale(theme.run_colour(index), 0.45)
                axes.plot(*curve_points(curves[run], size).T, color=pale, linewidth=0.7)
        axes.plot(*mean.T, color=theme.run_colour(index), linewidth=1.8)
        area, edge = (4, 0.9) if group.several else (7, 1.6)
        for point in (each for each in marks if each.group == index):
            (mark,) = axes.plot([point.x], [point.y], marker(index), color=theme.run_colour(index), clip_on=False)
            mark.set(markersize=area, markerfacecolor=theme.paper, markeredgewidth=edge)


def groups_with_eps_curves(summary: Summary) -> list[tuple[int, SeedGroup, list[tuple[float, float]]]]:
    """(index in the study, group, [(eps, mean accuracy over seeds)]) for every group whose seeds all have a curve."""
    found = []
    for index, group in enumerate(summary.groups):
        curves = [run.checkpoints["best"].by_eps for run in summary.members(group) if "best" in run.checkpoints]
        if curves and all(curves):
            mean = [(points[0][0], fmean(accuracy for _, accuracy in points)) for points in zip(*curves, strict=True)]
            found.append((index, group, mean))
    return found


def groups_with_step_curves(summary: Summary) -> list[tuple[int, SeedGroup, list[float]]]:
    """(index in the study, group, mean accuracy by step) for every group whose seeds all have a long curve."""
    found = []
    for index, group in enumerate(summary.groups):
        curves = [run.checkpoints["best"].by_step for run in summary.members(group) if "best" in run.checkpoints]
        if curves and min(map(len, curves)) > LEAST_STEPS:
            found.append((index, group, [fmean(step) for step in zip(*curves, strict=True)]))
    return found


def step_curves(summary: Summary, theme: Theme) -> Figure:
    """Accuracy of the best checkpoints after every step of the longest PGD, with a logarithmic axis of steps."""
    curves = [
        (index, group.name, range(1, len(curve)), curve[1:]) for index, group, curve in groups_with_step_curves(summary)
    ]
    figure, axes = accuracy_curves(curves, theme, "Accuracy against the steps of PGD", xscale="log")
    axes.set(xlabel="steps", xticks=[count for count in STEP_TICKS if count <= axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.minorticks_off()
    return figure


def eps_curves(summary: Summary, theme: Theme) -> Figure:
    """Accuracy of the best checkpoints against the radius of the ball; a dashed line marks the study's eps."""
    curves = [
        (index, group.name, [eps for eps, _ in curve], [accuracy for _, accuracy in curve])
        for index, group, curve in groups_with_eps_curves(summary)
    ]
    figure, axes = accuracy_curves(curves, theme, "Accuracy against eps")
    axes.axvline(summary.protocol.eps.value, color=theme.grey, linewidth=0.8, linestyle="--")
    axes.set(xlabel=f"eps, {summary.protocol.norm_name}")
    return figure


def accuracy_curves(
    curves: Sequence[AccuracyCurve], theme: Theme, title: str, xscale: str = "linear"
) -> tuple[Figure, Axes]:
    """One line for each curve, over the x axis that all of them begin at, with the names at the ends."""
    figure = Figure(figsize=(theme.width, 3.9), layout="constrained")
    axes = figure.subplots()
    labels = []
    for index, name, x, accuracies in curves:
        axes.plot(x, accuracies, color=theme.run_colour(index), linewidth=1.8)
        labels.append((name, x[-1], accuracies[-1], theme.run_colour(index)))
    first, last = curves[0][2][0], max(end for _, end, _, _ in labels)
    axes.set(xlim=(first, last), ylim=(0, 1), ylabel="accuracy", xscale=xscale, title=title)
    axes.yaxis.set_major_formatter(percent_ticks())
    label_beside(axes, labels, distance=ONE_LINE, theme=theme)
    return figure, axes
