"""A table for a terminal of any width: names may be shortened and texts wrapped, but no number is cut.

If a table is too wide, its texts wrap. If this is not enough, it is split into several tables, one below the other,
which all repeat the first column. If the first column and one other are still too wide, every cell gets its own line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ssmlab.report.table import TextTable

BESIDE_COLUMN = 3  # cells: one space on each side, and one for the separator between two columns
BORDER = 1  # cells; a table has one more line than columns
SHORTEST_NAME = 12  # cells; words in headings and in the first column are never shorter than this
NARROWEST = 20  # cells; no number in ssmlab's tables is longer


@dataclass(frozen=True)
class FittedTable:
    """Draws a table that fits the available width.

    Attributes:
        style: returns the style of a cell from its text.
    """

    table: TextTable
    style: Callable[[str], str]

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        widest = table_width(natural_widths(self.table))  # a caption wraps
        return Measurement(min(NARROWEST, options.max_width), min(widest, options.max_width))

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        if self.table.caption:
            yield Text(self.table.caption, style="bold")
        parts = split_columns(self.table, options.max_width)
        if parts is None:
            yield from self.records(options.max_width)
        for part in parts or ():
            yield self.draw(part, fitted_widths(part, options.max_width) or natural_widths(part))

    def draw(self, table: TextTable, widths: Sequence[int]) -> Table:
        drawn = Table(header_style="bold", box=SIMPLE_HEAD)
        for column, width in zip(table.columns, widths, strict=True):
            side = "left" if column.left else "right"
            drawn.add_column(Text(shorten_words(column.title, width)), justify=side, width=width)  # type: ignore[arg-type]
        for first, *others in table.rows:
            name = Text(shorten_words(first, widths[0]), style=self.style(first))
            drawn.add_row(name, *(Text(cell, style=self.style(cell)) for cell in others))
        return drawn

    def records(self, width: int) -> Iterator[Text]:
        """Every row as a list: its name, then one line per cell with the column's heading."""
        for first, *others in self.table.rows:
            yield Text(shorten_words(first, width), style="bold")
            for column, cell in zip(self.table.columns[1:], others, strict=True):
                if cell:
                    yield Text.assemble((shorten_words(column.title, width - 1) + ": "), (cell, self.style(cell)))
        yield Text()


def to_rich(table: TextTable, style: Callable[[str], str] = lambda _: "") -> FittedTable:
    """The table in a form that Rich can draw; `style` returns the style of a cell from its text."""
    return FittedTable(table, style)


def split_columns(table: TextTable, width: int) -> list[TextTable] | None:
    """The table, or as few tables as possible that fit and repeat its first column; None if that is not possible."""
    first, *bound = bound_columns(table)
    parts: list[list[int]] = []
    for columns in bound or [[]]:
        grown = [*parts[-1], *columns] if parts else [*first, *columns]
        if fitted_widths(part_of(table, grown), width) is not None:
            parts = [*parts[:-1], grown]
        elif parts and fitted_widths(part_of(table, [*first, *columns]), width) is not None:
            parts.append([*first, *columns])
        else:
            return None
    return [part_of(table, columns) for columns in parts]


def bound_columns(table: TextTable) -> list[list[int]]:
    """The column numbers that stay together: the first column alone, then neighbours with the same group."""
    bound = [[0]]
    for place, (before, column) in enumerate(pairwise(table.columns), start=1):
        together = place > 1 and (column.beside or (column.group and column.group == before.group))
        if together:
            bound[-1].append(place)
        else:
            bound.append([place])
    return bound


def part_of(table: TextTable, places: Sequence[int]) -> TextTable:
    """A table of the columns with these numbers."""
    rows = (tuple(row[place] for place in places) for row in table.rows)
    return TextTable(tuple(table.columns[place] for place in places), tuple(rows))


def natural_widths(table: TextTable) -> list[int]:
    """The width of every column without wrapping or shortening."""
    return [
        max(cell_len(text) for text in (column.title, *(row[place] for row in table.rows)))
        for place, column in enumerate(table.columns)
    ]


def fitted_widths(table: TextTable, width: int) -> list[int] | None:
    """Widths of the columns for a table of at most `width` cells; None if it cannot be that narrow."""
    widths = natural_widths(table)
    least = [least_width(table, place) for place in range(len(widths))]
    while table_width(widths) > width:
        spare = [place for place in range(len(widths)) if widths[place] > least[place]]
        if not spare:
            return None
        widths[max(spare, key=widths.__getitem__)] -= 1
    return widths


def least_width(table: TextTable, place: int) -> int:
    """The least width of a column: numbers never wrap, texts wrap at spaces, and names keep some letters."""
    cells = [row[place] for row in table.rows]
    names = [table.columns[place].title, *(cells if place == 0 else [])]
    words = [min(longest_word(name), SHORTEST_NAME) for name in names]
    if place > 0:
        words += map(longest_word if table.columns[place].left else cell_len, cells)
    return max(words, default=1)


def longest_word(text: str) -> int:
    """The width of the longest word; 1 for an empty text."""
    return max(map(cell_len, text.split()), default=1)


def table_width(widths: Sequence[int]) -> int:
    """The width of a table whose columns have these widths."""
    return sum(widths) + BESIDE_COLUMN * len(widths) + BORDER


def shorten_words(text: str, width: int) -> str:
    """The text with words of at most `width` cells; a long word loses its middle, as names differ at their ends."""
    return " ".join(word if cell_len(word) <= width else shorten_middle(word, width) for word in text.split(" "))


def shorten_middle(word: str, width: int) -> str:
    """Shorten a word to `width` cells: `ads-pgd-s0` in 8 cells is `ads-…-s0`."""
    if width < 3:
        return chop_cells(word, width)[0]
    start = chop_cells(word, width // 2)[0]
    end = chop_cells(word[::-1], width - 1 - cell_len(start))[0][::-1]
    return f"{start}…{end}"
