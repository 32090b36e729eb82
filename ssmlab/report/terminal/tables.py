"""Tables for a terminal: a study, its runs, a comparison. Nothing is printed here; Rich draws the returned objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Group, RenderableType
from rich.text import Text

from ssmlab.analysis.format import deviation, number, signed
from ssmlab.core.text import percent, plural
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
    """The study in one short table: accuracies of the best checkpoints and RO gaps, as means over seeds."""
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
    """The runs of a study: progress, and validation accuracies in percent of the latest and of the best epoch."""
    words = (Column(name, left=True) for name in ("run", "model", "state"))
    numbers = map(Column, ("epoch", "clean", "robust", "best"))
    rows = []
    for status in statuses:
        now_and_best = (status.clean, status.robust, status.best_robust)
        accuracies = (ABSENT if value is None else f"{100 * value:.1f}" for value in now_and_best)
        rows.append((status.name, status.model, status.words, f"{status.epoch}/{status.epochs}", *accuracies))
    caption = (
        "nothing has run yet; `ssmlab repro` runs everything"
        if all(status.state == "waiting" for status in statuses)
        else "accuracy in percent on the selection split: clean and robust after the latest epoch, robust at its best"
    )
    return to_rich(TextTable((*words, *numbers), tuple(rows), caption))


def parity_table(found: Sequence[Agreement]) -> FittedTable:
    """The relative L2 error of every case against the published code, and whether it is small enough."""
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


def render(
    comparison: Comparison, format: Format, all_parameters: bool = False, measures_first: bool = False
) -> RenderableType:
    """A comparison as a table that Rich can draw, or as JSON, CSV or Markdown text (a str, to be written unchanged).

    Args:
        all_parameters: show every parameter, not only those that differ between entries.
        measures_first: show the measures above the parameters, on a screen whose top is read first.
    """
    if format in ("json", "csv"):
        from ssmlab.report.terminal.export import (
            comparison_csv,
            comparison_json,
        )  # imported here: a table does not need it

        return (comparison_json if format == "json" else comparison_csv)(comparison, all_parameters)
    tables = [comparison_settings(comparison, all_parameters), comparison_measures(comparison)]
    tables = [table for table in (reversed(tables) if measures_first else tables) if table.rows]
    if format == "md":
        marker = [f"**{markdown_text(comparison.mismatch)}**"] if comparison.mismatch else []
        notes = [markdown_text(note) for note in comparison.notes]
        return "\n\n".join([*marker, *(to_markdown(table, markdown_text) for table in tables), *notes]) + "\n"
    marker_text = [Text(comparison.mismatch, style="bold red")] if comparison.mismatch else []
    drawn = (to_rich(table, style_of) for table in tables)
    return Group(*marker_text, *drawn, *(Text(note, style="yellow") for note in comparison.notes))


def style_of(text: str) -> str:
    """The style of a delta, chosen by its last word."""
    return STYLES.get(text.rpartition(" ")[2], "")


def entry_titles(comparison: Comparison) -> list[str]:
    """The headings of the entries: `ads/best` for models/smoke/ads/best.safetensors; whole names if two were alike.

    Paths differ in their middle, which a narrow table leaves out.
    """
    names = [entry.name for entry in comparison.entries]
    files = (PurePath(name) for name in names)
    titles = [f"{file.parent.name}/{file.stem}" if file.suffix == ".safetensors" else str(file) for file in files]
    return titles if len(set(titles)) == len(titles) else names


def comparison_settings(comparison: Comparison, all_parameters: bool) -> TextTable:
    """The parameters of the entries by dotted key: only those that differ, or all."""
    names = (Column(title, left=True) for title in entry_titles(comparison))
    shown = [setting for setting in comparison.settings if all_parameters or setting.changed]
    rows = tuple((setting.key, *map(setting_text, setting.values)) for setting in shown)
    return TextTable((Column("parameter", left=True), *names), rows)


def setting_text(value: Any) -> str:
    """A parameter's value as in params.yaml."""
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value)


def comparison_measures(comparison: Comparison) -> TextTable:
    """Sizes, checkpoints, accuracies and RO gaps; every entry but the first also has a column with its delta."""
    first, *others = entry_titles(comparison)
    columns = [Column("measure", left=True), Column(first)]
    for title in others:
        columns += [Column(title), Column(f"against {first}", left=True, beside=True)]
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
    """A row: the label, the value of the first entry, then value and delta of every other entry."""
    pairs = zip(values[1:], deltas, strict=True)
    return (label, values[0], *(text for pair in pairs for text in pair))


def ratios(comparison: Comparison) -> list[str]:
    """The number of parameters of every other entry, relative to the first entry."""
    first, *others = comparison.entries
    return [f"{entry.parameters / first.parameters:.2f} times" for entry in others]


def seeds_text(entry: Entry) -> str:
    """`3 (0, 1, 2)`: the number of seeds and the seeds; `-` if they are unknown."""
    seeds = [str(each.seed) for each in entry.trainings if each.seed is not None]
    return f"{len(seeds)} ({', '.join(seeds)})" if seeds else ABSENT


def entry_epochs_text(entry: Entry) -> str:
    """`10`, or `4 of 40` for trainings that ended early; several values if seeds differ; `-` if unknown."""
    return ", ".join(dict.fromkeys(each.epochs.text for each in entry.trainings if each.epochs)) or ABSENT


def checkpoints_text(entry: Entry) -> str:
    """`best 9, last 10`: the known epochs of the attacked checkpoints; for a group `best 8 to 9`."""
    found = []
    for which in ("best", "last"):
        checkpoints = (each.checkpoints.get(which) for each in entry.trainings)
        epochs = sorted({each.epoch for each in checkpoints if each and each.epoch is not None})
        if epochs:
            found.append(f"{which} {epochs[0]}" + (f" to {epochs[-1]}" if len(epochs) > 1 else ""))
    return ", ".join(found) or ABSENT


def line_label(line: ComparisonLine, comparison: Comparison) -> str:
    """The label of a line; `best` is left out if an entry is a checkpoint file that is not its run's best."""
    if line.moment == "gap":
        return f"RO gap {line.measure}"
    is_left_out = line.moment == "best" and any(entry.which != "best" for entry in comparison.entries)
    return line.measure if is_left_out else f"{line.measure}, {line.moment}"


def value_text(cell: ComparedValue, line: ComparisonLine, seeds: int) -> str:
    """An accuracy in percent or a gap in points: `81.3%`, `81.3% ± 0.9`, with the seed count if some are missing."""
    if cell.value is None or cell.n_seeds is None:
        return ABSENT
    value = signed(cell.value) if line.moment == "gap" else percent(cell.value)
    fewer = f" ({cell.n_seeds} {plural('seed', cell.n_seeds)})" if cell.n_seeds < seeds else ""
    return value + deviation(cell.std) + fewer


def delta_text(cell: ComparedValue) -> str:
    """`+7.3 better`; empty without a delta."""
    return "" if cell.delta is None else f"{signed(cell.delta)} {cell.word}"
