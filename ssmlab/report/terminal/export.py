"""A comparison for other programs: JSON and CSV with all intervals; accuracies, gaps and deltas are fractions.

For a group, the value is the mean over its seeds, `std` the sample standard deviation, and `n_seeds` their number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ssmlab.analysis.compare.compare import Comparison, ComparisonLine
from ssmlab.analysis.compare.deltas import ComparedValue
from ssmlab.analysis.compare.entries import Entry
from ssmlab.core.files import to_csv

CSV_HEADER = (
    *("kind", "name", "of", "subject", "value", "n", "low", "high", "delta", "delta_low", "delta_high", "word"),
    *("std", "n_seeds"),
)


def comparison_json(comparison: Comparison, all_parameters: bool) -> str:
    """The comparison as JSON; a measure that was not taken is null."""
    value = {
        "subjects": [
            {
                "name": entry.name,
                "study": entry.study,
                "run": entry.run,
                "members": [each.run for each in entry.members],
                "seeds": [each.seed for each in entry.trainings],
                "epochs_done": [each.epochs.done if each.epochs else None for each in entry.trainings],
                "epochs_asked": [each.epochs.asked if each.epochs else None for each in entry.trainings],
                "checkpoint": entry.which,
                "parameters": entry.parameters,
                "protocol": entry.attacked[0].protocol_fingerprint if entry.attacked else None,
                "note": entry.note or None,
            }
            for entry in comparison.entries
        ],
        "notes": comparison.notes,
        "confidence": comparison.confidence,
        "mismatch": comparison.mismatch,
        "settings": {
            setting.key: list(setting.values) for setting in comparison.settings if all_parameters or setting.changed
        },
        "measures": [
            {
                "measure": line.measure,
                "of": line.moment,
                "values": [
                    cell_json(cell, checkpoint_of(line, entry))
                    for cell, entry in zip(line.values, comparison.entries, strict=True)
                ],
            }
            for line in comparison.lines
        ],
    }
    return json.dumps(without_nan(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def checkpoint_of(line: ComparisonLine, entry: Entry) -> str:
    """The checkpoint of a number; for a checkpoint file, the line `best` shows the checkpoint in that file."""
    return entry.which if line.moment == "best" else line.moment


def without_nan(value: Any) -> Any:
    """The value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: without_nan(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(below) for below in value]
    return value


def cell_json(cell: ComparedValue, checkpoint: str) -> dict[str, Any] | None:
    """One number of one entry, with its checkpoint; None where it was not measured."""
    if cell.value is None:
        return None
    difference = cell.difference
    return {
        "value": cell.value,
        "checkpoint": checkpoint,
        "std": cell.std,
        "n_seeds": cell.n_seeds,
        "n": cell.n,
        "interval": cell.interval,
        "delta": cell.delta,
        "delta_interval": (difference.low, difference.high) if difference else None,
        "word": cell.word or None,
    }


def comparison_csv(comparison: Comparison, all_parameters: bool) -> str:
    """The comparison with one value per line; the last column repeats a protocol mismatch on every line."""
    marker = comparison.mismatch or ""
    return to_csv((*CSV_HEADER, "mismatch"), ((*row, marker) for row in csv_rows(comparison, all_parameters)))


def setting_csv(value: Any) -> str | None:
    """A parameter's value; None (an empty field) if the entry lacks the parameter."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def csv_rows(comparison: Comparison, all_parameters: bool) -> Iterator[tuple[Any, ...]]:
    """The lines of `comparison_csv`: settings, parameter counts, accuracies, gaps."""
    entries = comparison.entries
    empty = (None,) * 9
    for setting in comparison.settings:
        if all_parameters or setting.changed:
            for entry, value in zip(entries, setting.values, strict=True):
                yield "setting", setting.key, None, entry.name, setting_csv(value), *empty
    for entry in entries:
        yield "parameters", None, None, entry.name, entry.parameters, *empty
        for each in entry.trainings:
            if each.epochs:
                yield "epochs_done", each.run, None, entry.name, each.epochs.done, *empty
                yield "epochs_asked", each.run, None, entry.name, each.epochs.asked, *empty
    for line in comparison.lines:
        kind = "ro_gap" if line.moment == "gap" else "accuracy"
        for entry, cell in zip(entries, line.values, strict=True):
            low, high = cell.interval or (None, None)
            difference = cell.difference
            delta = (cell.delta, difference and difference.low, difference and difference.high, cell.word)
            value = (cell.value, cell.n, low, high)
            yield kind, line.measure, checkpoint_of(line, entry), entry.name, *value, *delta, cell.std, cell.n_seeds
