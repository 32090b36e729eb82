"""The report's pictures, as PNG bytes. A run has one colour and one marker in all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ssmlab.analysis.summary import Accuracy, Summary
from ssmlab.analysis.words import number
from ssmlab.history import Row
from ssmlab.params import Which
from ssmlab.report.drawing import GREY, INK, colour, label_beside, marker, mixed, png, style

WIDTH = 8.0  # inches; 768 pixels on a page
BAR = 0.36  # a bar's height, where runs are 1 apart
BARS: dict[Which, float] = {"best": -BAR / 2, "last": BAR / 2}  # where a run's two bars stand


def learning_curves(summary: Summary, histories: Mapping[str, Sequence[Row]]) -> bytes:
    """Validation accuracy of every run after every epoch, clean and robust; a ring marks the epoch kept as `best`.

    Args:
        histories: the rows of history.csv by run name.
    """
    with style():
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, column in ((left, "val_clean"), (right, "val_robust")):
            draw_curves(axes, summary, {run: [getattr(row, column) for row in rows] for run, rows in histories.items()})
        left.set(title="Clean images, after every epoch", ylabel="accuracy on the selection split")
        right.set(title="Attacked images, after every epoch")
        return png(figure)


def draw_curves(axes: Axes, summary: Summary, curves: Mapping[str, Sequence[float]]) -> None:
    """One line a run, with its name at the end."""
    longest = max(map(len, curves.values()))
    axes.set(ylim=(0, 1), xlabel="epoch", xlim=(1 - 0.02 * longest, longest * 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels = []
    for index, run in enumerate(summary.runs):
        curve = curves[run.name]
        axes.plot(range(1, len(curve) + 1), curve, color=colour(index), linewidth=1.8)
        best = run.checkpoints.get("best")
        if best and best.epoch and best.epoch <= len(curve):
            (ring,) = axes.plot(
                [best.epoch], [curve[best.epoch - 1]], marker(index), color=colour(index), clip_on=False
            )
            ring.set(markersize=7, markerfacecolor="white", markeredgewidth=1.6)
        labels.append((run.name, len(curve), curve[-1], colour(index)))
    label_beside(axes, labels, distance=0.06, gap=2)


def tradeoff(summary: Summary) -> bytes:
    """Clean against robust accuracy of every run's best checkpoint, with intervals; areas are parameter counts."""
    main = summary.main_attack()
    points = [
        (index, run, clean, robust)
        for index, run in enumerate(summary.runs)
        if (clean := run.measure("clean", "best")) and (robust := run.measure(main, "best"))
    ]
    largest = max(run.parameters for run in summary.runs)
    with style():
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        axes = figure.subplots()
        for index, run, clean, robust in points:
            axes.errorbar(
                clean.value,
                robust.value,
                xerr=arms(clean),
                yerr=arms(robust),
                color=colour(index),
                linewidth=1.2,
                capsize=3,
            )
            area = 40 + 160 * run.parameters / largest
            axes.scatter(clean.value, robust.value, area, color=colour(index), marker=marker(index), zorder=3)
        axes.margins(0.08)
        labels = [
            (f"{run.name}\n{number(run.parameters)} parameters", clean.value, robust.value, colour(index))
            for index, run, clean, robust in points
        ]
        label_beside(axes, labels, distance=0.1, gap=8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set(xlabel="clean accuracy", ylabel=f"accuracy under {main}")
        axes.set_title("Clean against robust accuracy of the best checkpoints")
        return png(figure)


def arms(measure: Accuracy) -> list[list[float]]:
    """The lengths of an error bar's two arms, from its interval."""
    low, high = measure.interval
    return [[max(measure.value - low, 0.0)], [max(high - measure.value, 0.0)]]


def measure_bars(summary: Summary) -> bytes:
    """Accuracy under every measure, a panel each: for every run its best checkpoint, and below it, paler, its last."""
    names = [name for name in summary.measures if summary.every(name)]
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    with style():
        figure = Figure(figsize=(WIDTH, rows * (0.42 * len(summary.runs) + 0.75) + 0.3), layout="constrained")
        panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for axes, name in zip(panels, names, strict=False):
            draw_bars(axes, summary, name)
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        for axes in panels[len(names) - columns : len(names)]:
            axes.tick_params(labelbottom=True)
        keys = [Patch(color=bar_colour(GREY, which), label=f"{which} checkpoint") for which in BARS]
        figure.suptitle("Accuracy under every measure", x=0.01, horizontalalignment="left", fontsize=10)
        figure.legend(handles=keys, loc="outside upper right", ncols=2, frameon=False)
        return png(figure)


def draw_bars(axes: Axes, summary: Summary, name: str) -> None:
    """One panel: two bars a run, each with its interval and its value in percent."""
    for index, run in enumerate(summary.runs):
        for which, offset in BARS.items():
            measure = run.measure(name, which)
            if measure:
                place, high = index + offset, measure.interval[1]
                axes.barh(place, measure.value, BAR, color=bar_colour(colour(index), which))
                axes.plot(measure.interval, (place, place), color=INK, linewidth=0.8)
                axes.text(high + 0.03, place, f"{100 * measure.value:.1f}", va="center_baseline", fontsize=7.5)
    counts = sorted({measure.n for measure in summary.every(name)})
    axes.set_title(f"{name} (n = {', '.join(map(str, counts))})")
    axes.set_yticks(range(len(summary.runs)), [run.name for run in summary.runs])
    axes.set(xlim=(0, 1.22), ylim=(len(summary.runs) - 0.4, -0.6), xticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def bar_colour(ink: str, which: Which) -> tuple[float, float, float]:
    """A run's colour, paler for its last checkpoint."""
    return mixed(ink, "white", 0.0 if which == "best" else 0.55)
