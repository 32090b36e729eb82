"""The figure of the error ladder: the change rates of three measures of an error, by kind of component."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from ssmlab.analysis.summary import Summary
from ssmlab.report.change_rates import COMPONENTS, change_rates, loss_ladder, total_rates
from ssmlab.report.figure_style import Theme, marker
from ssmlab.report.probe_figures import Found, add_legend, coloured

PANELS = (  # title, label of the axis, base of its logarithm
    ("rho: free of scale", "rho after / rho before", 2),
    ("KL: follows scale", "KL after / KL before", 10),
    ("MSE: follows scale", "MSE after / MSE before", 10),
)


def component_ladder(summary: Summary, found: Found, theme: Theme) -> Figure:
    """The change rates of rho, KL and MSE by kind of component: one panel per measure, one mark per run."""
    ladders = [(index, ladder) for index, _, each in coloured(summary, found) if (ladder := loss_ladder(each))]
    rows = [name for name in COMPONENTS if any(change_rates(ladder, name) for _, ladder in ladders)]
    height = (1.0 + 0.32 * (len(rows) + 1)) * (len(PANELS) if theme.narrow else 1)
    names = len({index for index, _ in ladders})
    legend = 0.3 + 0.21 * -(-names // (2 if theme.narrow else 5))
    figure = Figure(figsize=(theme.width, height + legend), layout="constrained")
    panels = list(figure.subplots(3, 1) if theme.narrow else figure.subplots(1, 3, sharey=True))
    for axes, (title, label, base) in zip(panels, PANELS, strict=True):
        axes.set_xscale("log", base=base)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.axvline(1.0, color=theme.grey, linewidth=0.9)
        axes.axhline(len(rows) - 0.5, color=theme.grey, linewidth=0.6)
        axes.set(xlabel=label, title=title)
    for index, ladder in ladders:
        found_rates = [*(change_rates(ladder, name) for name in rows), total_rates(ladder)]
        there = [(place, rates) for place, rates in enumerate(found_rates) if rates]
        for side, axes in enumerate(panels):
            draw_run(axes, [(rates[side], place) for place, rates in there], index, theme)
    for axes in panels:
        axes.set_yticks(range(len(rows) + 1), [*rows, "all together"])
    for axes in panels if theme.narrow else panels[:1]:  # side by side, the panels share the y axis
        axes.invert_yaxis()
    add_legend(figure, summary, found, theme)
    return figure


def draw_run(axes: Axes, points: list[tuple[float, int]], index: int, theme: Theme) -> None:
    """Draw the (change rate, row) of one run."""
    colour = theme.run_colour(index)
    axes.plot(*zip(*points, strict=True), marker(index), color=colour, markersize=6, mfc=theme.pale(colour, 0.5))
