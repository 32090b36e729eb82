"""Lists for scripts: the rows of a command as JSON, CSV or a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from ssmlab.core.files import to_csv

SCHEMA = 1  # version of the JSON: raised if a field changes its meaning or is removed, not for new fields
ListedRow = Mapping[str, Any]


class ListFormat(StrEnum):
    """The format of a list."""

    table = "table"
    json = "json"
    csv = "csv"
    md = "md"


FormatOption = Annotated[
    ListFormat, typer.Option("--format", help="The format: a table for people, the others for scripts.")
]

JsonOption = Annotated[bool, typer.Option("--json", help="The same as `--format json`, for scripts.")]


def records_text(kind: str, columns: Sequence[str], rows: Sequence[ListedRow], form: ListFormat) -> str:
    """Rows as text that ends with a line feed.

    Args:
        kind: what the rows are, for JSON: `{"schema": 1, "kind": "runs", "rows": [...]}`.
        columns: the keys of every row, in order; a missing value is null or an empty field.
        form: json, csv or md.
    """
    if form is ListFormat.json:
        table = [{name: row.get(name) for name in columns} for row in rows]
        return json.dumps({"schema": SCHEMA, "kind": kind, "rows": table}, ensure_ascii=False, allow_nan=False) + "\n"
    cells = [["" if row.get(name) is None else str(row[name]) for name in columns] for row in rows]
    if form is ListFormat.csv:
        return to_csv(columns, cells)
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
