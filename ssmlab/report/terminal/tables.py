"""Tables for a terminal: a study, its runs, a comparison. Nothing here prints: functions return what Rich can draw."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Group, RenderableType
from rich.text import Text

from ssmlab.analysis.format import deviation, number, plural, signed
from ssmlab.core.text import percent
from ssmlab.report.markup import markdown_text
from ssmlab.report.table import ABSENT, Column, TextTable, to_markdown
from ssmlab.report.terminal.fitted_table import FittedTable, to_rich

if TYPE_CHECKING:
    from ssmlab.analysis.compare.compare import Comparison, ComparisonLine
    from ssmlab.analysis.compare.deltas import ComparedValue
    from ssmlab.analysis.compare.entries import Entry
    from ssmlab.analysis.summary import Summary
    from ssmlab.project.status import RunStatus
    from ssmlab.published.agreement import Agreement

Format = Literal["table", "json", "csv", "md"]
STYLES = {"better": "green", "worse": "red", "noise": "dim", "same": "dim", "seeds": "dim"}


def headline(summary: Summary) -> FittedTable:
    """The study in one short table: accuracies of the best checkpoints and RO gaps; of several seeds the means."""
    main = summary.main_attack()
    measures = [name for name in ("clean", *summary.attacks) if any(run.measure(name, "best") for run in summary.runs)]
    columns = (Column("run", left=True), *map(Column, ("parameters", *measures, "RO gap")))
    rows = []
    for group in summary.groups:
        gap, found = group.gaps.get(main), (group.measure(name, "best") for name in measures)
        accuracies = (f"{100 * each.mean:.1f}" if each else ABSENT for each in found)
        cut = [run for run in summary.members(group) if run.epochs and run.epochs.cut_short]
        name = f"{group.name} (cut short)" if cut else group.name
        rows.append((name, number(group.parameters), *accuracies, signed(gap.mean) if gap else ABSENT))
    data = summary.data
    kind = "" if data.provenance == "official" else f" on {data.name} ({data.provenance})"
    caption = (
        f"{summary.study}{kind}: accuracy of the best checkpoints in percent, eps {summary.protocol.eps_text}; "
        f"RO gap: best - last under {main}{'; means over seeds' if summary.several_seeds else ''}"
    )
    return to_rich(TextTable(columns, tuple(rows), caption))


def status_table(statuses: Sequence[RunStatus]) -> FittedTable:
    """The runs of a study: how far each is, and its validation accuracies in percent now and of its best epoch."""
    words = (Column(name, left=True) for name in ("run", "model", "state"))
    numbers = map(Column, ("epoch", "clean", "robust", "best"))
    rows = []
    for status in statuses:
        now_and_best = (status.clean, status.robust, status.best_robust)
        accuracies = (ABSENT if value is None else percent(value) for value in now_and_best)
        rows.append((status.name, status.model, status.words, f"{status.epoch}/{status.epochs}", *accuracies))
    return to_rich(TextTable((*words, *numbers), tuple(rows)))


def parity_table(found: Sequence[Agreement]) -> FittedTable:
    """How far every case is from the published code: relative L2 errors, and whether they are small enough."""
    columns = (Column("case", left=True), *map(Column, ("parameters", "logits", "kernel", "gradient")))
    rows = []
    for each in found:
        errors = (ABSENT if error is None else f"{error:.0e}" for error in (each.logits, each.kernel, each.gradient))
        rows.append((each.case, number(each.parameters), *errors, "ok" if each.ok else "not ok"))
    caption = "relative errors against the published code"
    return to_rich(TextTable((*columns, Column("agrees", left=True)), tuple(rows), caption), agreement_style)


def agreement_style(text: str) -> str:
    """The style of `ok` and `not ok`."""
    return {"ok": "green", "not ok": "bold red"}.get(text, "")


def render(comparison: Comparison, format: Format, all_parameters: bool = False) -> RenderableType:
    """A comparison as a table for Rich to draw, or as the text of JSON, CSV or Markdown (a str, to be written raw).

    Args:
        all_parameters: show every parameter, not only those in which the entries differ.
    """
    if format in ("json", "csv"):
        from ssmlab.report.terminal.export import comparison_csv, comparison_json  # not for a table of runs

        return (comparison_json if format == "json" else comparison_csv)(comparison, all_parameters)
    tables = [comparison_settings(comparison, all_parameters), comparison_measures(comparison)]
    tables = [table for table in tables if table.rows]
    if format == "md":
        marker = [f"**{markdown_text(comparison.mismatch)}**"] if comparison.mismatch else []
        notes = [markdown_text(note) for note in comparison.notes]
        return "\n\n".join([*marker, *(to_markdown(table, markdown_text) for table in tables), *notes]) + "\n"
    marker_text = [Text(comparison.mismatch, style="bold red")] if comparison.mismatch else []
    drawn = (to_rich(table, style_of) for table in tables)
    return Group(*marker_text, *drawn, *(Text(note, style="yellow") for note in comparison.notes))


def style_of(text: str) -> str:
    """The style of a delta, by its last word."""
    return STYLES.get(text.rpartition(" ")[2], "")


def comparison_settings(comparison: Comparison, all_parameters: bool) -> TextTable:
    """The parameters of the entries by dotted key: those that differ, or all."""
    names = (Column(entry.name, left=True) for entry in comparison.entries)
    shown = [setting for setting in comparison.settings if all_parameters or setting.changed]
    rows = tuple((setting.key, *map(setting_text, setting.values)) for setting in shown)
    return TextTable((Column("parameter", left=True), *names), rows)


def setting_text(value: Any) -> str:
    """A parameter's value as params.yaml has it."""
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value)


def comparison_measures(comparison: Comparison) -> TextTable:
    """Sizes, checkpoints, accuracies and RO gaps; a column with the delta and its word beside each but the first."""
    first, *others = comparison.entries
    columns = [Column("measure", left=True), Column(first.name)]
    for entry in others:
        columns += [Column(entry.name), Column(f"against {first.name}", left=True, beside=True)]
    rows = [entry_row("parameters", [number(s.parameters) for s in comparison.entries], ratios(comparison))]
    if any(entry.members for entry in comparison.entries):
        rows.append(entry_row("seeds", [seeds_text(entry) for entry in comparison.entries], [""] * len(others)))
    epochs = [entry_epochs_text(entry) for entry in comparison.entries]
    if any(text != ABSENT for text in epochs):
        rows.append(entry_row("epochs", epochs, [""] * len(others)))
    attacked = [checkpoints_text(entry) for entry in comparison.entries]
    if any(text != ABSENT for text in attacked):
        rows.append(entry_row("epoch", attacked, [""] * len(others)))
    for line in comparison.lines:
        pairs = zip(line.values, comparison.entries, strict=True)
        values = [value_text(cell, line, len(entry.trainings)) for cell, entry in pairs]
        rows.append(entry_row(line_label(line, comparison), values, [delta_text(cell) for cell in line.values[1:]]))
    return TextTable(tuple(columns), tuple(rows))


def entry_row(label: str, values: list[str], deltas: list[str]) -> tuple[str, ...]:
    """A row: the label, the reference's value, then value and delta of every other entry."""
    pairs = zip(values[1:], deltas, strict=True)
    return (label, values[0], *(text for pair in pairs for text in pair))


def ratios(comparison: Comparison) -> list[str]:
    """How many times the reference's parameters each other entry has."""
    first, *others = comparison.entries
    return [f"{entry.parameters / first.parameters:.2f} times" for entry in others]


def seeds_text(entry: Entry) -> str:
    """`3 (0, 1, 2)`: how many seeds, and which; `-` where they are unknown."""
    seeds = [str(each.seed) for each in entry.trainings if each.seed is not None]
    return f"{len(seeds)} ({', '.join(seeds)})" if seeds else ABSENT


def entry_epochs_text(entry: Entry) -> str:
    """`10`; of trainings that ended early `4 of 40`; all where the seeds of a group differ; `-` where it is unknown."""
    return ", ".join(dict.fromkeys(each.epochs.text for each in entry.trainings if each.epochs)) or ABSENT


def checkpoints_text(entry: Entry) -> str:
    """`best 9, last 10`: the epochs of the attacked checkpoints, as far as they are known; of a group `best 8 to 9`."""
    found = []
    for which in ("best", "last"):
        checkpoints = (each.checkpoints.get(which) for each in entry.trainings)
        epochs = sorted({each.epoch for each in checkpoints if each and each.epoch is not None})
        if epochs:
            found.append(f"{which} {epochs[0]}" + (f" to {epochs[-1]}" if len(epochs) > 1 else ""))
    return ", ".join(found) or ABSENT


def line_label(line: ComparisonLine, comparison: Comparison) -> str:
    """What a line measures; `best` is left out where an entry is a checkpoint file that is not its run's best."""
    if line.moment == "gap":
        return f"RO gap {line.measure}"
    is_left_out = line.moment == "best" and any(entry.which != "best" for entry in comparison.entries)
    return line.measure if is_left_out else f"{line.measure}, {line.moment}"


def value_text(cell: ComparedValue, line: ComparisonLine, seeds: int) -> str:
    """An accuracy in percent, or a gap in points; of several seeds `81.3% ± 0.9`, and how many if not all `seeds`."""
    if cell.value is None or cell.n_seeds is None:
        return ABSENT
    value = signed(cell.value) if line.moment == "gap" else percent(cell.value)
    fewer = f" ({cell.n_seeds} {plural('seed', cell.n_seeds)})" if cell.n_seeds < seeds else ""
    return value + deviation(cell.std) + fewer


def delta_text(cell: ComparedValue) -> str:
    """`+7.3 better`; empty where there is no delta."""
    return "" if cell.delta is None else f"{signed(cell.delta)} {cell.word}"
