"""The transfer matrix of a study as a table: targets are rows, what the images were made on are columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from ssmlab.analysis.format import number
from ssmlab.evaluation.transfer_results import TransferResults, broken_images
from ssmlab.report.table import ABSENT, Column, TextTable

NamedRuns = Mapping[str, Sequence[str]]  # the runs of every row and column, by its name
TRANSFER_COLUMNS = ("source", "target", "attack", "eps", "n", "right", "broken", "share", "not_by_itself")


def each_alone(results: TransferResults) -> NamedRuns:
    """Every run as a row and a column of its own."""
    return {run: (run,) for run in results.runs}


def groups_there(groups: NamedRuns, results: TransferResults) -> NamedRuns:
    """The groups of a study with those of their runs that are in the results; a group without any is left out."""
    found = {name: [run for run in runs if run in results.checkpoints] for name, runs in groups.items()}
    return {name: runs for name, runs in found.items() if runs}


def mean_share(results: TransferResults, sources: Sequence[str], targets: Sequence[str]) -> float | None:
    """The mean share that images made on `sources` break of what `targets` have right, over pairs of different runs.

    None where there is no such pair, or no target has an image right.
    """
    pairs = (results.transfer(source, target) for source in sources for target in targets if source != target)
    shares = [each.share for each in pairs if each.share is not None]
    return fmean(shares) if shares else None


def own_share(results: TransferResults, targets: Sequence[str]) -> float | None:
    """The mean share that the targets' own attack breaks; None where no target has an image right."""
    shares = [each.share for run in targets if (each := results.transfer(run, run)).share is not None]
    return fmean(share for share in shares if share is not None) if shares else None


def transfer_table(results: TransferResults, members: NamedRuns, name: str = "transfer") -> TextTable:
    """Shares in percent of the images that the target has right: one row a target, one column a source.

    Args:
        members: the runs of every row and column; several runs are their mean over pairs of different runs.
        name: of its files.
    """
    columns = (
        Column("target", left=True),
        Column("right"),
        Column("itself", group="made on"),
        *(Column(source, group="made on") for source in members),
        Column("not by itself"),
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
    """What the numbers are."""
    return (
        f"Share in percent of the images that the target has right (`right` of {number(results.data.n)}) which "
        f"{results.attack} (eps {results.eps_text}) made on another model breaks. `itself`: the target's own attack. "
        "`not by itself`: the most images that one source breaks and neither the "
        "target's own attack nor PGD-50 on it can."
    )


def share_text(share: float | None) -> str:
    """`12.5`, a percentage without its sign."""
    return ABSENT if share is None else f"{100 * share:.1f}"


def transfer_rows(results: TransferResults) -> Iterator[dict[str, Any]]:
    """One row a pair of runs, and one of every run with itself, with the keys `TRANSFER_COLUMNS`."""
    for each in results.transfers:
        beyond = len(broken_images(results.withstood[each.target], each.flags))
        values = (each.source, each.target, results.attack, results.eps.value, results.data.n)
        yield dict(zip(TRANSFER_COLUMNS, (*values, each.right, each.broken, each.share, beyond), strict=True))
