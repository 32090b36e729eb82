"""The values of all curves at one place, as a table: one line per run or group. Needs no Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

GAP = 2  # cells between columns
LONGEST_NAME = 20  # cells


@dataclass(frozen=True)
class CurveReading:
    """One line.

    Attributes:
        marker, colour: how its curves are drawn.
        name: the run or group.
        values: one text per column.
    """

    marker: str
    colour: str
    name: str
    values: tuple[str, ...]


def readings_table(place: str, columns: Sequence[str], readings: Sequence[CurveReading], width: int) -> Text:
    """`epoch 2   clean  robust` above the values; columns that do not fit into `width` cells are left out, not cut."""
    names = [cell_len(reading.name) for reading in readings]
    first = max(cell_len(place), 2 + min(LONGEST_NAME, max(names, default=0)))
    widths = [
        max(cell_len(text) for text in (column, *(reading.values[i] for reading in readings)))
        for i, column in enumerate(columns)
    ]
    fitting = [i for i in range(len(columns)) if first + sum(GAP + each for each in widths[: i + 1]) <= width]
    table = Text(no_wrap=True, overflow="ellipsis")
    table.append(set_cell_size(place, first), "bold")
    for i in fitting:
        table.append(f"{'':{GAP}}{columns[i]:>{widths[i]}}", "dim")
    for reading in readings:
        table.append("\n").append(f"{reading.marker} ", reading.colour).append(set_cell_size(reading.name, first - 2))
        for i in fitting:
            table.append(f"{'':{GAP}}{reading.values[i]:>{widths[i]}}")
    return table
