"""The numbers of a study as tables: the papers' table for runs and for groups, and a table with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from ssmlab.analysis.format import deviation, number, signed
from ssmlab.analysis.intervals import Difference
from ssmlab.analysis.seeds import Spread
from ssmlab.analysis.summary import Accuracy, Run, SeedGroup, Summary
from ssmlab.params import Which
from ssmlab.report.table import ABSENT, Column, TextTable

ANALYSIS = "analysis/summary.json"  # holds the means over seeds; links are relative to results/STUDY


def results_link(run: Run) -> str:
    """The file with the results of a run for every image."""
    return f"attack/{quote(run.name)}.json"


def paper_table(summary: Summary, name: str = "results") -> TextTable:
    """The papers' table: for every run the accuracies of its best and last checkpoint, and their difference.

    Args:
        name: the name of the table's files, without their endings.
    """
    measures = [name for name in ("clean", *summary.attacks) if summary.every(name)]
    columns = [
        Column("run", left=True),
        Column("model", left=True),
        Column("training", left=True),
        Column("epochs"),
        Column("parameters"),
    ]
    columns += [Column(part, group=name) for name in measures for part in ("best", "last", "diff")]
    return TextTable(
        tuple(columns),
        tuple(paper_row(run, measures) for run in summary.runs),
        links=tuple(map(results_link, summary.runs)),
        name=name,
    )


def group_table(summary: Summary) -> TextTable:
    """The papers' table for groups: means and standard deviations over seeds, and the number of seeds."""
    measures = [name for name in ("clean", *summary.attacks) if summary.every(name)]
    columns = [
        Column("runs", left=True),
        Column("model", left=True),
        Column("training", left=True),
        Column("seeds"),
        Column("epochs"),
        Column("parameters"),
    ]
    columns += [Column(part, group=name) for name in measures for part in ("best", "last", "diff")]
    return TextTable(
        tuple(columns),
        tuple(group_row(group, summary.members(group), measures) for group in summary.groups),
        links=(ANALYSIS,) * len(summary.groups),
        name="results",
    )


def group_row(group: SeedGroup, runs: Sequence[Run], measures: list[str]) -> tuple[str, ...]:
    """One row of `group_table`."""
    row = [group.name, group.label, group.regime, str(len(group.seeds)), epochs_text(runs), number(group.parameters)]
    for name in measures:
        gap = group.gaps.get(name)
        row += [mean_text(group.measure(name, "best")), mean_text(group.measure(name, "last"))]
        row.append(signed(gap.mean) + deviation(gap.std) if gap else ABSENT)
    return tuple(row)


def paper_row(run: Run, measures: list[str]) -> tuple[str, ...]:
    """One row of `paper_table`."""
    row = [run.name, run.label, run.regime, epochs_text([run]), number(run.parameters)]
    for name in measures:
        gap = run.gaps.get(name)
        row += [accuracy_text(run.measure(name, "best")), accuracy_text(run.measure(name, "last"))]
        row.append(signed(gap.value) if gap else ABSENT)
    return tuple(row)


def interval_table(summary: Summary) -> TextTable:
    """The same numbers with their intervals, and the worst case over all attacks."""
    measures = [name for name in summary.measures if summary.every(name)]
    columns = [Column("run", left=True), Column("checkpoint", left=True), *map(Column, measures)]
    mixed = {name for name in measures if len({measure.n for measure in summary.every(name)}) > 1}
    rows, links = [], []
    for run in summary.runs:
        for which, checkpoint in run.checkpoints.items():
            cells = (interval_text(checkpoint.measures.get(name), name in mixed) for name in measures)
            rows.append((run.name, checkpoint_text(run, which), *cells))
            links.append(results_link(run))
        if run.gaps:
            rows.append((run.name, "best - last", *(gap_text(run.gaps.get(name)) for name in measures)))
            links.append(results_link(run))
    return TextTable(tuple(columns), tuple(rows), links=tuple(links), name="intervals")


def epochs_text(runs: Sequence[Run]) -> str:
    """`10`, or `4 of 40` for trainings that ended early; several values if runs differ; asked epochs if unknown."""
    texts = [run.epochs.text if run.epochs else str(run.train.passes) for run in runs]
    return ", ".join(dict.fromkeys(texts))


def checkpoint_text(run: Run, which: Which) -> str:
    """`best (epoch 9)`, or `last (epoch 4 of 40)` for a training that ended early."""
    asked = f" of {run.epochs.asked}" if run.epochs and run.epochs.cut_short else ""
    return f"{which} (epoch {run.checkpoints[which].epoch}{asked})"


def accuracy_text(measure: Accuracy | None) -> str:
    """`81.3`: percent without the sign, as in papers' tables."""
    return f"{100 * measure.value:.1f}" if measure else ABSENT


def mean_text(spread: Spread | None) -> str:
    """`81.3 ± 0.9` in percent, or `81.3` for one seed."""
    return f"{100 * spread.mean:.1f}{deviation(spread.std)}" if spread else ABSENT


def interval_text(measure: Accuracy | None, counted: bool) -> str:
    """`81.3 (78.8 to 83.6)`, followed by `, n = 100` if numbers of images differ within the column."""
    if measure is None:
        return ABSENT
    low, high = measure.interval
    images = f", n = {number(measure.n)}" if counted else ""
    return f"{100 * measure.value:.1f} ({100 * low:.1f} to {100 * high:.1f}){images}"


def gap_text(gap: Difference | None) -> str:
    """`+1.2 (-0.3 to +2.7)`."""
    return f"{signed(gap.value)} ({signed(gap.low)} to {signed(gap.high)})" if gap else ABSENT
