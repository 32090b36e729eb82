"""The layout of the table of runs: widths of columns, and columns that share a page. Needs no Textual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from ssmlab.tui.arrange import TableRow
from ssmlab.tui.columns import Cell, TableColumn

GAP = 2  # cells between columns
SIGNS = 4  # cells before the name: marked or pinned, the curve's marker, folded or not
NARROW = 46  # cells; in a narrower table, a state is shown by its glyph only
SHORTEST_NAME = 8


@dataclass(frozen=True)
class TableLayout:
    """The positions of the columns.

    Attributes:
        widths: widths in cells by column key; `run` is the column of names.
        pages: indices of the columns that are shown together; every column is on one page.
    """

    widths: Mapping[str, int]
    pages: tuple[tuple[int, ...], ...] = ((),)

    def column_at(self, x: int, columns: Sequence[TableColumn], page: int) -> str | None:
        """The key of the column that covers cell `x` of a line; None beyond the last column."""
        end = SIGNS + self.widths.get("run", 0)
        if x < end:
            return "run"
        for place in self.pages[page]:
            end += GAP + self.widths[columns[place].key]
            if x < end:
                return columns[place].key
        return None


def table_layout(
    rows: Sequence[TableRow],
    columns: Sequence[TableColumn],
    cells: Mapping[str, Sequence[Cell]],
    sorted_by: str,
    width: int,
) -> TableLayout:
    """The layout for a table of `width` cells; `cells` holds the cells of each row, one per column."""
    names = [cell_len(row.name) + 2 * row.inside for row in rows]
    narrow = width < NARROW
    room = max(SHORTEST_NAME, width - SIGNS - GAP - (2 if narrow else 12))
    widths = {"run": min(max([3, *names]), room)}
    for place, column in enumerate(columns):
        texts = (of_row[place].text for of_row in cells.values())
        heading = cell_len(column.heading) + (sorted_by == column.key)
        widths[column.key] = max([heading, column.least, *map(cell_len, texts)])
    if narrow:
        widths["state"] = 1
    return TableLayout(widths, tuple(map(tuple, pages(columns, widths, width - SIGNS - widths["run"]))))


def pages(columns: Sequence[TableColumn], widths: Mapping[str, int], room: int) -> list[list[int]]:
    """Columns by page: the first page has the most important columns that fit, the others follow in order."""
    left = list(range(len(columns)))
    found: list[list[int]] = []
    while left:
        free, page = room, []
        order = sorted(left, key=lambda place: columns[place].rank) if not found else left
        for place in order:
            needed = GAP + widths[columns[place].key]
            if needed <= free:
                page.append(place)
                free -= needed
            elif found:
                break  # later pages keep the order of the columns
        if not page:
            page = [order[0]]  # wider than the terminal: alone on its page, and cut at the edge
        found.append(sorted(page))
        left = [place for place in left if place not in page]
    return found or [[]]
