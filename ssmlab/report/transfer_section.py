"""The section on transfer between runs: a figure, a table, and signs of masked gradients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from matplotlib.figure import Figure

from ssmlab.analysis.format import number
from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed, percent
from ssmlab.evaluation.transfer_results import TransferResults
from ssmlab.report.blocks import Block, Caution, Folded, Heading, Paragraph, Picture
from ssmlab.report.figure_style import Theme, draw_files, percent_ticks
from ssmlab.report.heat_map import draw_heat_map
from ssmlab.report.transfer_tables import (
    NamedRuns,
    each_alone,
    groups_there,
    mean_share,
    own_share,
    transfer_table,
)

MOST_WRITTEN = 14  # columns; with more columns, the numbers do not fit into the cells
NARROW_WRITTEN = 6


def transfer_section(summary: Summary, results: TransferResults | None) -> Iterator[Block]:
    """The section on transfer; nothing without results, one warning if a run was trained again since then."""
    if results is None:
        return
    yield Heading("Transfer between the runs")
    if stale := stale_runs(summary, results):
        yield Caution(
            f"The transfer results are out of date: they belong to other checkpoints of {listed(stale)}. They are left "
            "out; run `ssmlab transfer`."
        )
        return
    members = groups_there({group.name: group.runs for group in summary.groups}, results)
    yield Paragraph(
        f"The first {number(results.data.n)} test images were attacked with {results.attack} (eps {results.eps_text}) "
        "on the best checkpoint of each run and then given to all other runs. An attack with a model's own gradients "
        "should be stronger than one with the gradients of another model. If the other model's images break a model "
        "where its own attack and PGD-50 fail, its robust accuracy may be too high (docs/evaluation.md)."
    )
    raised = [check.sentence for check in results.checks.values() if check.raised]
    if raised:
        yield Caution(f"{'. '.join(raised)}.")
    else:
        yield Paragraph("No run is broken by more than a few images of another run on which its own attacks fail.")
    yield Picture(
        "transfer",
        draw_files(partial(transfer_map, results, members)),
        "Heat map of the share of images that an attack on one model breaks on another. "
        + spoken_map(results, members),
        "Of the images that the target (row) classifies correctly, the percentage that is broken by adversarial images "
        "made on the source (column). The first column is the target's own attack."
        + (" Groups of seeds are means over pairs of different runs." if summary.several_seeds else ""),
    )
    yield transfer_table(results, members)
    if len(members) < len(results.runs):
        yield Folded("Every single run", transfer_table(results, each_alone(results), "transfer-runs"))


def stale_runs(summary: Summary, results: TransferResults) -> list[str]:
    """The runs that the study no longer has, or whose checkpoint is not the one in the summary."""
    current = {run.name: run.checkpoints["best"].sha256 for run in summary.runs if "best" in run.checkpoints}
    return [run for run in results.runs if current.get(run) != results.checkpoints[run]]


def spoken_map(results: TransferResults, members: NamedRuns) -> str:
    """The strongest source of every target, apart from the target itself, as text."""
    parts = []
    for target, runs in members.items():
        shares = {source: mean_share(results, each, runs) for source, each in members.items()}
        known = {source: share for source, share in shares.items() if share is not None}
        own = own_share(results, runs)
        if known and own is not None:
            worst = max(known, key=lambda source: known[source])
            parts.append(f"{target} {percent(own)} by its own attack, {percent(known[worst])} by the attack on {worst}")
    return f"Largest shares of broken images: {listed(parts)}."


def transfer_map(results: TransferResults, members: NamedRuns, theme: Theme) -> Figure:
    """The matrix as a heat map with one row per target; a line separates the targets' own attacks from the sources."""
    grid = [
        [own_share(results, runs), *(mean_share(results, sources, runs) for sources in members.values())]
        for runs in members.values()
    ]
    figure = Figure(figsize=(theme.width, 1.9 + 0.3 * len(grid)), layout="constrained")
    axes = figure.subplots()
    written = len(members) < (NARROW_WRITTEN if theme.narrow else MOST_WRITTEN)
    image = draw_heat_map(axes, grid, theme, written=written)
    axes.set_yticks(range(len(grid)), list(members))
    axes.set_xticks(range(len(members) + 1), ["itself", *members], rotation=40, ha="right", rotation_mode="anchor")
    axes.axvline(0.5, color=theme.ink, linewidth=1.5)
    axes.set(xlabel="made on", ylabel="shown to", title=f"Images broken by {results.attack}, eps {results.eps_text}")
    for side in axes.spines.values():
        side.set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, format=percent_ticks())
    bar.outline.set_visible(False)
    return figure
