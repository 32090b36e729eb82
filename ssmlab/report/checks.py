"""The section on the checks of the evaluation: raised flags, all checks, and other warnings."""

from __future__ import annotations

from collections.abc import Iterator

from ssmlab.analysis.summary import CheckOverview, Summary
from ssmlab.core.text import plural
from ssmlab.report.blocks import Block, Bullets, Folded, Heading, Paragraph
from ssmlab.report.study_tables import results_link
from ssmlab.report.table import Column, TextTable


def checks_section(summary: Summary) -> Iterator[Block]:
    """The raised flags, all checks, and the other warnings."""
    yield Heading("Checks of the evaluation")
    if not summary.checks:
        yield Paragraph(
            "An older version of ssmlab evaluated these models and did not check them for masked gradients. Their "
            "robust accuracies may be too high, and nothing here would show it. `ssmlab repro` evaluates them again."
        )
    else:
        yield Paragraph(
            "Every evaluation checks its model on up to 64 images. The checks ask whether the model is random, depends "
            "on the other images of a batch, saturates, gives wrong gradients, or resists attacks that break every "
            "real model. A raised flag means that robust accuracies may be too high. docs/evaluation.md explains every "
            "check."
        )
        raised = raised_table(summary)
        yield raised if raised.rows else Paragraph("No flag was raised.")
        yield Folded(f"All {len(summary.checks)} checks with their largest values", overview_table(summary.checks))
    warnings = tuple(other_warnings(summary))
    if warnings:
        yield Paragraph("Other warnings of the evaluation:")
        yield Bullets(warnings)


def raised_table(summary: Summary) -> TextTable:
    """Every raised flag, with the measured value, its threshold and its meaning."""
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
    """Every check with the checkpoint whose value minus threshold is largest."""
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
    """The warnings that do not come from raised checks."""
    for run in summary.runs:
        for which, checkpoint in run.checkpoints.items():
            from_checks = {check.sentence for check in checkpoint.raised}
            yield from (f"{run.name}, {which}: {text}" for text in checkpoint.warnings if text not in from_checks)


def flags_sentence(summary: Summary) -> str:
    """A sentence for the first paragraph: how many checks ran, and on which runs they raised flags."""
    if not summary.checks:
        return "The models were not checked for masked gradients."
    flagged = [run.name for run in summary.runs if any(each.raised for each in run.checkpoints.values())]
    names = [check.name for check in summary.checks if check.raised]
    checks = f"{len(summary.checks)} {plural('check', len(summary.checks))} for masked gradients and other faults"
    if not flagged:
        return f"Every model passed {checks}."
    few = f": {', '.join(flagged)}" if len(flagged) <= 5 else ""
    return (
        f"Every model went through {checks}. {len(names)} raised a flag ({', '.join(names)}) on "
        f"{len(flagged)} {plural('run', len(flagged))}{few}."
    )
