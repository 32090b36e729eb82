"""The transfer matrix of a study as a table: rows are targets, columns are the sources that the images were made on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from ssmlab.analysis.format import number
from ssmlab.evaluation.transfer_results import TransferResults, broken_images
from ssmlab.report.table import ABSENT, Column, TextTable

NamedRuns = Mapping[str, Sequence[str]]  # from the name of a row and column to its runs
TRANSFER_COLUMNS = ("source", "target", "attack", "eps", "n", "right", "broken", "share", "not_by_itself")


def each_alone(results: TransferResults) -> NamedRuns:
    """One row and one column for every run."""
    return {run: (run,) for run in results.runs}


def groups_there(groups: NamedRuns, results: TransferResults) -> NamedRuns:
    """The groups of a study, limited to the runs in the results; a group without such runs is left out."""
    found = {name: [run for run in runs if run in results.checkpoints] for name, runs in groups.items()}
    return {name: runs for name, runs in found.items() if runs}


def mean_share(results: TransferResults, sources: Sequence[str], targets: Sequence[str]) -> float | None:
    """The share of the targets' correct images that images made on `sources` break: mean over pairs of different runs.

    None if there is no such pair, or if the targets classify no image correctly.
    """
    pairs = (results.transfer(source, target) for source in sources for target in targets if source != target)
    shares = [each.share for each in pairs if each.share is not None]
    return fmean(shares) if shares else None


def own_share(results: TransferResults, targets: Sequence[str]) -> float | None:
    """The mean share that the targets' own attack breaks; None if the targets classify no image correctly."""
    shares = [each.share for run in targets if (each := results.transfer(run, run)).share is not None]
    return fmean(share for share in shares if share is not None) if shares else None


def transfer_table(results: TransferResults, members: NamedRuns, name: str = "transfer") -> TextTable:
    """Percentages of the target's correct images that are broken: one row per target, one column per source.

    Args:
        members: the runs of every row and column; several runs are shown as the mean over pairs of different runs.
        name: the name of the table's files, without their endings.
    """
    columns = (
        Column("target", left=True),
        Column("right"),
        Column("itself", group="made on"),
        *(Column(source, group="made on") for source in members),
        Column("beyond own attacks"),
        Column("flag", left=True),
    )
    rows = []
    for target, runs in members.items():
        right = fmean(results.clean[run].count("1") for run in runs)
        others = (share_text(mean_share(results, sources, runs)) for sources in members.values())
        checks = {run: results.checks[run] for run in runs}
        flagged = [run for run, check in checks.items() if check.raised]
        most = max(check.value for check in checks.values())
        flag = ABSENT if not flagged else "masked?" if flagged == [target] else f"masked? {', '.join(flagged)}"
        rows.append((target, f"{right:.0f}", share_text(own_share(results, runs)), *others, f"{most:.0f}", flag))
    return TextTable(columns, tuple(rows), caption(results), name=name)


def caption(results: TransferResults) -> str:
    """The meaning of the table's columns."""
    return (
        f"The target classifies `right` of {number(results.data.n)} clean images correctly. The columns `made on` show "
        f"the percentage of them that {results.attack} (eps {results.eps_text}) breaks if it is run on that model. "
        "`itself`: the target's own attack. `beyond own attacks`: the number of images that one source breaks but the "
        "target's own attack and PGD-50 do not, for the source with the most."
    )


def share_text(share: float | None) -> str:
    """`12.5`: percent without the sign."""
    return ABSENT if share is None else f"{100 * share:.1f}"


def transfer_rows(results: TransferResults) -> Iterator[dict[str, Any]]:
    """One row for each pair of runs, and for each run with itself, with the keys `TRANSFER_COLUMNS`."""
    for each in results.transfers:
        beyond = len(broken_images(results.withstood[each.target], each.flags))
        values = (each.source, each.target, results.attack, results.eps.value, results.data.n)
        yield dict(zip(TRANSFER_COLUMNS, (*values, each.right, each.broken, each.share, beyond), strict=True))
