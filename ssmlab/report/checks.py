"""What the evaluation checked, what it found, and what else it warns of."""

from __future__ import annotations

from collections.abc import Iterator

from ssmlab.analysis.format import plural
from ssmlab.analysis.summary import CheckOverview, Summary
from ssmlab.report.blocks import Block, Bullets, Folded, Heading, Paragraph
from ssmlab.report.study_tables import results_link
from ssmlab.report.table import Column, TextTable


def checks_section(summary: Summary) -> Iterator[Block]:
    """The flags that were raised, every check that was made, and the other warnings."""
    yield Heading("Checks of the evaluation")
    if not summary.checks:
        yield Paragraph(
            "An older version evaluated these models and did not check them for masked gradients: their robust "
            "accuracies may be too high without a sign of it. `ssmlab repro` evaluates them again."
        )
    else:
        yield Paragraph(
            "Every evaluation checks its model on up to 64 images: whether it is random, depends on the batch, "
            "saturates, gives gradients that are not its slopes, or withstands what no honest model can. A raised flag "
            "means that robust accuracies may be too high. docs/evaluation.md explains every check."
        )
        raised = raised_table(summary)
        yield raised if raised.rows else Paragraph("No flag was raised.")
        yield Folded(f"All {len(summary.checks)} checks, and how near they came", overview_table(summary.checks))
    warnings = tuple(other_warnings(summary))
    if warnings:
        yield Paragraph("Other warnings of the evaluation:")
        yield Bullets(warnings)


def raised_table(summary: Summary) -> TextTable:
    """Every raised flag with what was measured and what it means."""
    columns = (
        *(Column(name, left=True) for name in ("run", "checkpoint", "check")),
        Column("measured"),
        Column("threshold"),
        Column("what was found", left=True),
    )
    rows, links = [], []
    for run in summary.runs:
        for which, checkpoint in run.checkpoints.items():
            for check in checkpoint.raised:
                numbers = (f"{check.value:.3g}", f"{check.threshold:.3g}")
                rows.append((run.name, which, check.name, *numbers, check.sentence))
                links.append(results_link(run))
    return TextTable(columns, tuple(rows), links=tuple(links), name="flags")


def overview_table(checks: tuple[CheckOverview, ...]) -> TextTable:
    """Every check with the checkpoint that came nearest to its threshold or went furthest beyond it."""
    columns = (Column("check", left=True), *map(Column, ("models", "raised", "largest", "threshold")))
    rows = tuple(
        (
            check.name,
            str(check.models),
            str(check.raised),
            f"{check.value:.3g}",
            f"{check.threshold:.3g}",
            f"{check.run}, {check.which}",
        )
        for check in checks
    )
    return TextTable((*columns, Column("on", left=True)), rows, name="checks")


def other_warnings(summary: Summary) -> Iterator[str]:
    """The warnings that are not those of raised checks."""
    for run in summary.runs:
        for which, checkpoint in run.checkpoints.items():
            of_checks = {check.sentence for check in checkpoint.raised}
            yield from (f"{run.name}, {which}: {text}" for text in checkpoint.warnings if text not in of_checks)


def flags_sentence(summary: Summary) -> str:
    """For the first paragraph: how many checks there were, and where they raised flags."""
    if not summary.checks:
        return "The models were not checked for masked gradients."
    flagged = [run.name for run in summary.runs if any(each.raised for each in run.checkpoints.values())]
    names = [check.name for check in summary.checks if check.raised]
    checks = f"{len(summary.checks)} {plural('check', len(summary.checks))} of every model for masked gradients"
    if not flagged:
        return f"No flag was raised by {checks} and other faults."
    few = f": {', '.join(flagged)}" if len(flagged) <= 5 else ""
    return (
        f"The {checks} and other faults raised {len(names)} {plural('flag', len(names))} ({', '.join(names)}) on "
        f"{len(flagged)} {plural('run', len(flagged))}{few}."
    )
