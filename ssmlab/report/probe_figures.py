"""Figures of gains and growth for the best checkpoint of every run. A group of seeds shows each of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log, nan, prod
from statistics import fmean, median

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from ssmlab.analysis.summary import Summary
from ssmlab.probes.results import CheckpointProbes, GrowthFit, LayerGains
from ssmlab.report.change_rates import change_rates, loss_ladder
from ssmlab.report.figure_style import Mark, Theme, draw_marks, marker, percent_ticks, two_panels

Found = Mapping[str, CheckpointProbes]  # by run


def coloured(summary: Summary, found: Found) -> Iterator[tuple[int, str, CheckpointProbes]]:
    """The probed runs, each with the number of its group, which gives its colour."""
    for index, group in enumerate(summary.groups):
        for run in group.runs:
            if run in found:
                yield index, run, found[run]


def add_legend(figure: Figure, summary: Summary, found: Found, theme: Theme) -> None:
    """Add a legend of the probed groups below the figure."""
    shown = sorted({index for index, _, _ in coloured(summary, found)})
    lines = [
        Line2D([], [], color=theme.run_colour(index), marker=marker(index), label=summary.groups[index].name)
        for index in shown
    ]
    columns = min(2 if theme.narrow else 5, len(lines))
    figure.legend(handles=lines, loc="outside lower center", ncols=columns, frameon=False)


def gains_of(summary: Summary, found: Found) -> Iterator[tuple[int, str, LayerGains]]:
    """Every layer's gains with a measured tightness."""
    for index, run, each in coloured(summary, found):
        yield from ((index, run, gains) for gains in each.gains if gains.tightness is not None)


def gain_and_amplification(each: CheckpointProbes) -> tuple[float, float] | None:
    """The peak gain of the median channel and the factor by which the fixed SSMs change rho, as products over layers.

    None for a model without fixed SSMs, or if the attack changed no image.
    """
    ladder = loss_ladder(each)
    rates = change_rates(ladder, "mixer") if ladder else None
    if not rates or not each.gains:
        return None
    return prod(median(gains.peak) for gains in each.gains), rates.rho


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
    right.yaxis.set_major_formatter(percent_ticks())
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
