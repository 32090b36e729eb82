"""The table of runs. Only the lines on the screen are made, and only those that changed are written again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ssmlab.tui import labels
from ssmlab.tui.arrange import Row
from ssmlab.tui.columns import Cell, Column
from ssmlab.tui.messages import HeadingClicked, RowHighlighted, RowOpened

GAP = 2  # cells between columns
SIGNS = 4  # cells before the name: marked or pinned, the curve's marker, folded or not
NARROW = 46  # below so many cells a state is its glyph alone
SHORTEST_NAME = 8


class RunsTable(ScrollView, can_focus=True):
    """Runs and groups of runs, one a line. Name and signs stay; the other columns are turned in pages sideways."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"table--header", "table--cursor", "table--dim"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "up", show=False),
        Binding("down", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "move(-100000)", "first", show=False),
        Binding("end", "move(100000)", "last", show=False),
        Binding("left", "turn(-1)", "columns left", show=False),
        Binding("right", "turn(1)", "columns right", show=False),
        Binding(
            "enter",
            "open",
            "details",
            show=False,
            key_display="⏎",
            tooltip="the run whole, or fold the group",
            id="details",
        ),
    ]

    cursor = reactive(0, repaint=False)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: list[Row] = []
        self.columns: tuple[Column, ...] = ()
        self.marked: frozenset[str] = frozenset()
        self.sorted_by: tuple[str, bool] = ("", True)
        self.cells: dict[str, tuple[Cell, ...]] = {}  # by row, one a column
        self.widths: dict[str, int] = {}
        self.pages: list[list[int]] = [[]]
        self.turned = 0
        self.drawn: dict[str, tuple[object, ...]] = {}

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's signature
        """The heading and every row."""
        return len(self.rows) + 1

    # What is shown

    def show(
        self,
        rows: Sequence[Row],
        columns: tuple[Column, ...],
        marked: frozenset[str],
        sorted_by: tuple[str, bool],
        now: float,
    ) -> None:
        """Show these rows; the cursor stays on its run, and where nothing has changed nothing is drawn."""
        under = self.selected
        old_rows, self.rows, self.columns, self.marked = self.rows, list(rows), columns, marked
        old_shape = (self.widths, self.pages, self.sorted_by)
        self.sorted_by = sorted_by
        self.cells = {row.key: tuple(column.cell(row.members, now) for column in columns) for row in rows}
        self.measure()
        keys = [row.key for row in rows]
        if len(rows) != len(old_rows):
            self.refresh(layout=True)
        place = keys.index(under.key) if under is not None and under.key in keys else min(self.cursor, len(keys) - 1)
        moved = max(0, place) != self.cursor
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        if moved or (self.widths, self.pages, sorted_by) != old_shape or keys != [row.key for row in old_rows]:
            self.drawn = {row.key: self.content(row) for row in self.rows}
            self.set_reactive(RunsTable.cursor, max(0, place))
            self.refresh()
            self.post_message(RowHighlighted(self.selected))
            return
        for line, row in enumerate(self.rows):
            content = self.content(row)
            if self.drawn.get(row.key) != content:
                self.drawn[row.key] = content
                self.refresh_lines(line + 1)

    def content(self, row: Row) -> tuple[object, ...]:
        """All that the line of a row depends on, besides the cursor."""
        return (self.cells[row.key], row.key in self.marked, row.pinned, row.folded)

    def redraw(self) -> None:
        """Draw everything again: the theme's colours have changed."""
        self.refresh()

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def measure(self) -> None:
        """How wide the columns are, and which stand on which page."""
        width = self.size.width or 80
        names = [cell_len(row.name) + 2 * row.inside for row in self.rows]
        narrow = width < NARROW
        room = max(SHORTEST_NAME, width - SIGNS - GAP - (2 if narrow else 12))
        self.widths = {"run": min(max([3, *names]), room)}
        for place, column in enumerate(self.columns):
            texts = (cells[place].text for cells in self.cells.values())
            heading = cell_len(column.heading) + (self.sorted_by[0] == column.key)
            self.widths[column.key] = max([heading, column.least, *map(cell_len, texts)])
        if narrow:
            self.widths["state"] = 1
        free = width - SIGNS - self.widths["run"]
        self.pages = pages(self.columns, self.widths, free)
        self.turned = min(self.turned, len(self.pages) - 1)

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One line of the terminal: the headings at the top, rows below."""
        width = self.size.width
        style = self.rich_style
        if y == 0:
            return Strip(self.heading_segments()).adjust_cell_length(width, style).crop(0, width)
        line = y - 1 + self.scroll_offset.y
        if not 0 <= line < len(self.rows):
            return Strip.blank(width, style)
        row = self.rows[line]
        background = self.get_component_rich_style("table--cursor") if line == self.cursor else style
        strip = Strip(self.row_segments(row, background))
        return strip.adjust_cell_length(width, background).crop(0, width)

    def heading_segments(self) -> list[Segment]:
        """The headings, with an arrow at the column that sorts."""
        style = self.get_component_rich_style("table--header")
        more = f"{self.turned + 1}/{len(self.pages)}" if len(self.pages) > 1 else ""
        segments = [Segment(set_cell_size(more, SIGNS), style), Segment(self.headed("run", "run", False), style)]
        for place in self.pages[self.turned]:
            column = self.columns[place]
            segments.append(Segment(" " * GAP + self.headed(column.key, column.heading, column.right), style))
        return segments

    def headed(self, key: str, heading: str, right: bool) -> str:
        """A heading in its column's width."""
        if self.sorted_by[0] == key:
            heading += "▼" if self.sorted_by[1] else "▲"
        width = self.widths.get(key, 3)
        if cell_len(heading) > width:
            return set_cell_size(heading, width)
        return " " * (width - cell_len(heading)) + heading if right else set_cell_size(heading, width)

    def row_segments(self, row: Row, background: Style) -> list[Segment]:
        """The line of a row: signs, name, and the columns of the page."""
        marked = row.key in self.marked
        place = row.members[0].place
        sign = "✓" if marked else "⌃" if row.pinned else " "
        shape = (" ▸" if row.folded else " ▾") if row.is_group else f" {labels.curve_marker(place)}"
        colour = Style() if row.is_group else Style.parse(labels.curve_colour(place))
        name = set_cell_size(("  " if row.inside else "") + row.name, self.widths["run"])
        segments = [
            Segment(sign, background + Style(bold=True)),
            Segment(f"{shape} ", background + colour),
            Segment(name, background + Style(bold=marked or row.is_group)),
        ]
        for number in self.pages[self.turned]:
            column, cell = self.columns[number], self.cells[row.key][number]
            width = self.widths[column.key]
            text = cell.text if width > 1 else cell.text[:1]
            fits = cell_len(text) <= width
            padded = " " * (width - cell_len(text)) + text if column.right and fits else set_cell_size(text, width)
            segments.append(Segment(" " * GAP + padded, background + self.style_named(cell.style)))
        return segments

    def style_named(self, style: str) -> Style:
        """A cell's style: a theme variable after `$`, or Rich's own words."""
        if style.startswith("$"):
            colour = self.app.theme_variables.get(style[1:], "")
            return Style.parse(colour) if colour.startswith("#") else Style()
        if style == "dim":
            return self.get_component_rich_style("table--dim", partial=True)
        return Style.parse(style)

    # Moving

    def on_resize(self) -> None:
        """Give up columns, or bring them back, as the room demands."""
        self.measure()
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        self.follow_cursor()
        self.refresh()

    def watch_cursor(self, old: int, new: int) -> None:
        """Write the two lines that change, and bring the cursor into view."""
        self.refresh_lines(old + 1)
        self.refresh_lines(new + 1)
        self.follow_cursor()
        self.post_message(RowHighlighted(self.selected))

    def follow_cursor(self) -> None:
        """Scroll so that the row under the cursor can be seen."""
        visible = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + visible:
            self.scroll_to(y=self.cursor - visible + 1, animate=False, force=True)

    def move_to(self, key: str) -> None:
        """Put the cursor on a row, if it is shown."""
        for line, row in enumerate(self.rows):
            if row.key == key:
                self.cursor = line

    def action_move(self, lines: int) -> None:
        """So many lines down."""
        self.cursor = max(0, min(self.cursor + lines, len(self.rows) - 1))

    def action_page(self, pages: int) -> None:
        """So many screens down."""
        self.action_move(pages * max(1, self.size.height - 2))

    def action_turn(self, by: int) -> None:
        """To the next page of columns."""
        turned = max(0, min(self.turned + by, len(self.pages) - 1))
        if turned != self.turned:
            self.turned = turned
            self.refresh()

    def action_open(self) -> None:
        """The row under the cursor, whole."""
        if self.selected is not None:
            self.post_message(RowOpened(self.selected))

    def on_click(self, event: events.Click) -> None:
        """A heading sorts; a row is put under the cursor, and opened if it was there already."""
        if event.y == 0:
            key = self.column_at(event.x)
            if key is not None:
                self.post_message(HeadingClicked(key))
            return
        line = event.y - 1 + self.scroll_offset.y
        if not 0 <= line < len(self.rows):
            return
        if line == self.cursor:
            self.action_open()
        self.cursor = line

    def column_at(self, x: int) -> str | None:
        """The column that covers this cell of a line."""
        end = SIGNS + self.widths.get("run", 0)
        if x < end:
            return "run"
        for place in self.pages[self.turned]:
            end += GAP + self.widths[self.columns[place].key]
            if x < end:
                return self.columns[place].key
        return None


def pages(columns: Sequence[Column], widths: dict[str, int], room: int) -> list[list[int]]:
    """Which columns stand together: the most wanted ones that fit first, the others in their order; none is lost."""
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
                break  # later pages keep the order, so that nothing jumps
        if not page:
            page = [order[0]]  # wider than the terminal: alone, and cut at its edge
        found.append(sorted(page))
        left = [place for place in left if place not in page]
    return found or [[]]
