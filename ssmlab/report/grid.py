"""A table of texts, and the ways to write it: for a terminal, as Markdown, as CSV, as HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

ABSENT = "-"  # what stands where there is no number


@dataclass(frozen=True)
class Column:
    """A column's heading; neighbours with one `group` share it as a heading above. Numbers stand on the right."""

    name: str
    group: str = ""
    left: bool = False

    @property
    def title(self) -> str:
        """The heading in one line, with its group."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True)
class Grid:
    """Rows of texts under columns; every row has one text a column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


def to_rich(grid: Grid, style: Callable[[str], str] = lambda _: "") -> Table:
    """The grid for a terminal; `style` gives a cell's style from its text."""
    table = Table(
        title=grid.caption or None, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD
    )
    for place, column in enumerate(grid.columns):
        table.add_column(Text(column.title), justify="left" if column.left else "right", no_wrap=place == 0)
    for row in grid.rows:
        table.add_row(*(Text(cell, style=style(cell)) for cell in row))
    return table


def to_markdown(grid: Grid, escaped: Callable[[str], str]) -> str:
    """The grid as a Markdown table; `escaped` makes a text safe for Markdown, pipes are escaped here."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cell(text: str) -> str:
        return " ".join(escaped(text).split()).replace("|", r"\|")

    rule = line(":--" if column.left else "--:" for column in grid.columns)
    head = line(cell(column.title) for column in grid.columns)
    return "\n".join([head, rule, *(line(map(cell, row)) for row in grid.rows)])


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV with `\\n` line ends; None is an empty field."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def to_html(grid: Grid) -> str:
    """The grid as an HTML table in a box that scrolls sideways on a narrow screen; the first column heads its row."""
    rows = "\n".join(f"<tr>{html_cells(grid, row)}</tr>" for row in grid.rows)
    caption = f"<caption>{escape(grid.caption)}</caption>\n" if grid.caption else ""
    label = escape(grid.caption or "table")
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>\n{caption}'
        f"<thead>\n{html_head(grid)}\n</thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>"
    )


def html_cells(grid: Grid, row: Sequence[str]) -> str:
    """The cells of one row of the table's body."""
    sides = [' class="left"' if column.left else "" for column in grid.columns]
    first, *others = (f"{side}>{escape(text)}" for side, text in zip(sides, row, strict=True))
    return f'<th scope="row"{first}</th>' + "".join(f"<td{other}</td>" for other in others)


def html_head(grid: Grid) -> str:
    """One row of headings, or two where columns have groups."""

    def heading(column: Column, more: str = "") -> str:
        side = ' class="left"' if column.left else ""
        return f'<th scope="col"{more}{side}>{escape(column.name)}</th>'

    if not any(column.group for column in grid.columns):
        return f"<tr>{''.join(map(heading, grid.columns))}</tr>"
    above, below = "", ""
    for group, members in groupby(grid.columns, key=lambda column: column.group):
        columns = list(members)
        if group:
            above += f'<th scope="colgroup" colspan="{len(columns)}" class="group">{escape(group)}</th>'
            below += "".join(map(heading, columns))
        else:
            above += "".join(heading(column, ' rowspan="2"') for column in columns)
    return f"<tr>{above}</tr>\n<tr>{below}</tr>"
