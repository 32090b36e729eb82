"""Figures of the probe results for the best checkpoint of every run. A group of seeds shows each of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log, nan, prod
from statistics import fmean, median

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, PercentFormatter, StrMethodFormatter

from ssmlab.analysis.summary import Summary
from ssmlab.probes.results import CheckpointProbes, ErrorLadder, GrowthFit, LadderStep, LayerGains
from ssmlab.report.crowded_figures import Mark, draw_marks
from ssmlab.report.figure_style import Theme, marker, two_panels

Found = Mapping[str, CheckpointProbes]  # by run
# In the order from the image to the head; a model has only some of them.
COMPONENTS = (
    "embedding",
    "norm",
    "convolution",
    "mixer",
    "pointwise",
    "AdS",
    "attention",
    "gated attention",
    "gate",
    "output",
    "feed-forward",
    "residual",
)


def loss_ladder(found: CheckpointProbes) -> ErrorLadder | None:
    """The error ladder of the loss attack on test images; None if the attack changed no image."""
    return next((each for each in found.ladders if (each.attack, each.split) == ("loss", "test")), None)


def amplifications(ladder: ErrorLadder, component: str) -> tuple[float, float] | None:
    """The factors by which all components of one kind change rho and the mean squared error; None without any."""
    steps = list(zip(ladder.steps, ladder.steps[1:], strict=False))
    there = [(before, after) for before, after in steps if after.component == component]
    if not there:
        return None
    return prod(after.amplification or 1.0 for _, after in there), prod(growth(*pair) for pair in there)


def growth(before: LadderStep, after: LadderStep) -> float:
    """The factor by which the mean squared error changes from one step to another."""
    return after.mse / before.mse


def coloured(summary: Summary, found: Found) -> Iterator[tuple[int, str, CheckpointProbes]]:
    """The probed runs, each with the number of its group, which gives its colour."""
    for index, group in enumerate(summary.groups):
        for run in group.runs:
            if run in found:
                yield index, run, found[run]


def component_ladder(summary: Summary, found: Found, theme: Theme) -> Figure:
    """Amplification by every kind of component: rho on the left, mean squared error on the right, one mark per run."""
    ladders = [(index, ladder) for index, _, each in coloured(summary, found) if (ladder := loss_ladder(each))]
    rows = [name for name in COMPONENTS if any(amplifications(ladder, name) for _, ladder in ladders)]
    figure, panels = two_panels(theme, sharey=True)
    figure.set_figheight((1.5 + 0.32 * (len(rows) + 1)) * (2 if theme.narrow else 1))
    for side, axes in enumerate(panels):
        axes.set_xscale("log", base=(2, 10)[side])
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.axvline(1.0, color=theme.grey, linewidth=0.9)
        for index, ladder in ladders:
            first, last = ladder.steps[0], ladder.steps[-1]
            for place, name in enumerate(rows):
                if factors := amplifications(ladder, name):
                    mark(axes, factors[side], place, index, theme)
            mark(axes, (ladder.total, growth(first, last))[side], len(rows), index, theme)
        axes.set_yticks(range(len(rows) + 1), [*rows, "all together"])
        axes.axhline(len(rows) - 0.5, color=theme.grey, linewidth=0.6)
        axes.set(xlabel=("rho after / rho before", "mse after / mse before")[side])
    figure.axes[0].set(title="Error relative to the signal (rho)")
    figure.axes[1].set(title="Mean squared error")
    for axes in panels if theme.narrow else panels[:1]:  # side by side, the panels share the y axis
        axes.invert_yaxis()
    add_legend(figure, summary, found, theme)
    return figure


def mark(axes: Axes, x: float, y: float, index: int, theme: Theme) -> None:
    colour = theme.run_colour(index)
    axes.plot([x], [y], marker(index), color=colour, markersize=6, markerfacecolor=theme.pale(colour, 0.5))


def add_legend(figure: Figure, summary: Summary, found: Found, theme: Theme) -> None:
    """Add a legend of the probed groups below the figure."""
    shown = sorted({index for index, _, _ in coloured(summary, found)})
    lines = [
        Line2D([], [], color=theme.run_colour(index), marker=marker(index), label=summary.groups[index].name)
        for index in shown
    ]
    columns = min(2 if theme.narrow else 5, len(lines))
    figure.legend(handles=lines, loc="outside lower center", ncols=columns, frameon=False)


def tightness_boxes(summary: Summary, found: Found, theme: Theme) -> Figure:
    """The error of each layer's fixed SSM as a share of its bound: range, quartiles and median."""
    rows = list(gains_of(summary, found))
    figure = Figure(figsize=(theme.width, 1.2 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (index, _, gains) in enumerate(rows):
        low, first, middle, third, high = gains.tightness or (0.0,) * 5
        colour = theme.run_colour(index)
        axes.plot([low, high], [place, place], color=colour, linewidth=1.0)
        axes.barh(place, third - first, left=first, height=0.5, color=theme.pale(colour, 0.5), edgecolor=colour)
        axes.plot([middle, middle], [place - 0.25, place + 0.25], color=colour, linewidth=2.0)
    axes.set_yticks(range(len(rows)), [f"{run}, layer {gains.layer}" for _, run, gains in rows])
    axes.set(xlim=(0, 1.02), xlabel="measured error / bound", title="Tightness of the SSMs' bounds under attack")
    axes.invert_yaxis()
    return figure


def gains_of(summary: Summary, found: Found) -> Iterator[tuple[int, str, LayerGains]]:
    """Every layer's gains with a measured tightness."""
    for index, run, each in coloured(summary, found):
        yield from ((index, run, gains) for gains in each.gains if gains.tightness is not None)


def gain_and_amplification(each: CheckpointProbes) -> tuple[float, float] | None:
    """The peak gain of the median channel and the factor by which the fixed SSMs change rho, as products over layers.

    None for a model without fixed SSMs, or if the attack changed no image.
    """
    ladder = loss_ladder(each)
    factors = amplifications(ladder, "mixer") if ladder else None
    if not factors or not each.gains:
        return None
    return prod(median(gains.peak) for gains in each.gains), factors[0]


def gain_scatter(summary: Summary, found: Found, theme: Theme) -> Figure:
    """What the fixed SSMs do to rho (left) and robust accuracy (right) against their gain; one mark per run."""
    figure, (left, right) = two_panels(theme)
    points = [
        (index, *point, each.robust)
        for index, _, each in coloured(summary, found)
        if (point := gain_and_amplification(each))
    ]
    left.axhline(1.0, color=theme.grey, linewidth=0.9)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="peak gain of the SSMs (median channel, product)")
        axes.grid(visible=True, which="both")
    left.set(yscale="log", title="Amplification of the error by the SSMs", ylabel="rho after / rho before")
    right.set(title="Robust accuracy", ylabel="accuracy under attack")
    draw_marks(left, [Mark(index, gain, factor) for index, gain, factor, _ in points], 36, theme)
    draw_marks(right, [Mark(index, gain, robust) for index, gain, _, robust in points], 36, theme)
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axis in (left.xaxis, left.yaxis, right.xaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(StrMethodFormatter("{x:g}") if span_of(axis) < 10 else NullFormatter())
    with_fixed = {run: each for run, each in found.items() if gain_and_amplification(each)}
    add_legend(figure, summary, with_fixed, theme)
    return figure


def span_of(axis: Axis) -> float:
    """The end of an axis divided by its beginning."""
    low, high = axis.get_view_interval()
    return float(high / low)


def growth_curves(summary: Summary, found: Found, theme: Theme) -> Figure:
    """The error after one perturbed token through all layers (left), and in the last token by its distance (right).

    Dashed lines are the fitted laws.
    """
    figure, (left, right) = two_panels(theme)
    for index, _, each in coloured(summary, found):
        whole = each.growth[-1]
        colour = theme.run_colour(index)
        later = range(1, len(whole.profile) + 1)
        left.plot(later, above_zero(whole.profile), color=colour, linewidth=1.5)
        right.plot(whole.distances, above_zero(whole.end), marker(index), color=colour, markersize=4)
        sides = ((left, later, whole.profile, whole.after), (right, whole.distances, whole.end, whole.over))
        for axes, distances, errors, fit in sides:
            line = fitted_line(distances, errors, fit)
            axes.plot(distances[: len(line)], line, color=colour, linestyle="--", linewidth=0.9)
    for axes in (left, right):
        axes.set_yscale("log")
    left.set(title="After one perturbed token", xlabel="tokens later", ylabel="error / perturbation")
    right.set(title="In the last token", xlabel="tokens between it and the perturbed one")
    add_legend(figure, summary, found, theme)
    return figure


def fitted_line(distances: Sequence[int], errors: Sequence[float], fit: GrowthFit | None) -> list[float]:
    """The fitted law at the distances before the first error of 0: the line of mean height through the logarithms.

    The errors are geometric means over images and the rate is the mean of the images' rates, so this line is the mean
    of the images' lines.
    """
    logs = [log(value) for value in errors[: errors.index(0.0) if 0.0 in errors else None]]
    if fit is None or not logs:
        return []
    along = [0.0 if fit.law == "bounded" else log(at) if fit.law == "power" else float(at) for at in distances]
    along = along[: len(logs)]
    start = fmean(logs) - fit.rate * fmean(along)
    return [exp(start + fit.rate * at) for at in along]


def above_zero(values: Sequence[float]) -> list[float]:
    """The values for a logarithmic axis; zero becomes NaN, which leaves a gap."""
    return [value if value > 0 else nan for value in values]
