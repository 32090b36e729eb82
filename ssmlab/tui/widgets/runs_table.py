"""The table of runs. Only visible lines are built, and only changed lines are redrawn."""

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
from ssmlab.tui.arrange import TableRow
from ssmlab.tui.columns import Cell, TableColumn
from ssmlab.tui.messages import HeadingClicked, RowHighlighted, RowOpened
from ssmlab.tui.widgets.table_layout import GAP, SIGNS, TableLayout, table_layout


class RunsTable(ScrollView, can_focus=True):
    """Runs and groups of runs, one per line. Signs and names are always visible; the other columns have pages."""

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
            tooltip="details of the run, or fold the group",
            id="details",
        ),
    ]

    cursor = reactive(0, repaint=False)

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: list[TableRow] = []
        self.columns: tuple[TableColumn, ...] = ()
        self.marked: frozenset[str] = frozenset()
        self.sorted_by: tuple[str, bool] = ("", True)
        self.cells: dict[str, tuple[Cell, ...]] = {}  # by row, one per column
        self.geometry = TableLayout({})
        self.turned = 0
        self.drawn: dict[str, tuple[object, ...]] = {}

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002 - Textual's signature
        """The heading and every row."""
        return len(self.rows) + 1

    # What is shown

    def show(
        self,
        rows: Sequence[TableRow],
        columns: tuple[TableColumn, ...],
        marked: frozenset[str],
        sorted_by: tuple[str, bool],
        now: float,
    ) -> None:
        """Show these rows; the cursor stays on its run, and unchanged lines are not redrawn."""
        under = self.selected
        old_rows, self.rows, self.columns, self.marked = self.rows, list(rows), columns, marked
        old_shape = (self.geometry, self.sorted_by)
        self.sorted_by = sorted_by
        self.cells = {row.key: tuple(column.cell(row.members, now) for column in columns) for row in rows}
        self.measure()
        keys = [row.key for row in rows]
        if len(rows) != len(old_rows):
            self.refresh(layout=True)
        place = keys.index(under.key) if under is not None and under.key in keys else min(self.cursor, len(keys) - 1)
        moved = max(0, place) != self.cursor
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        if moved or (self.geometry, sorted_by) != old_shape or keys != [row.key for row in old_rows]:
            self.drawn = {row.key: self.content(row) for row in self.rows}
            self.set_reactive(RunsTable.cursor, max(0, place))
            self.refresh()
            self.post_message(RowHighlighted(self.selected))
            return
        self.draw_changed()

    def mark(self, marked: frozenset[str]) -> None:
        """Show other marks in the same rows."""
        self.marked = marked
        self.draw_changed()

    def draw_changed(self) -> None:
        """Draw the lines whose content has changed."""
        for line, row in enumerate(self.rows):
            content = self.content(row)
            if self.drawn.get(row.key) != content:
                self.drawn[row.key] = content
                self.refresh_lines(line + 1)

    def content(self, row: TableRow) -> tuple[object, ...]:
        """Everything that the line of a row depends on, except the cursor."""
        return (self.cells[row.key], row.key in self.marked, row.pinned, row.folded)

    @property
    def selected(self) -> TableRow | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def measure(self) -> None:
        """Lay the columns out for the present width."""
        self.geometry = table_layout(self.rows, self.columns, self.cells, self.sorted_by[0], self.size.width or 80)
        self.turned = min(self.turned, len(self.geometry.pages) - 1)

    # Drawing

    def render_line(self, y: int) -> Strip:
        """One line of the widget: the headings, or a row."""
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
        """The line of headings, with an arrow at the sorted column."""
        style = self.get_component_rich_style("table--header")
        page, pages = self.turned + 1, len(self.geometry.pages)
        more = "" if pages == 1 else f"{page}/{pages}" if pages < 10 else str(page)  # leaves a cell before the names
        segments = [Segment(set_cell_size(more, SIGNS), style), Segment(self.headed("run", "run", False), style)]
        for place in self.geometry.pages[self.turned]:
            column = self.columns[place]
            segments.append(Segment(" " * GAP + self.headed(column.key, column.heading, column.right), style))
        return segments

    def headed(self, key: str, heading: str, right: bool) -> str:
        """A heading padded to the width of its column."""
        if self.sorted_by[0] == key:
            heading += "▼" if self.sorted_by[1] else "▲"
        width = self.geometry.widths.get(key, 3)
        if cell_len(heading) > width:
            return set_cell_size(heading, width)
        return " " * (width - cell_len(heading)) + heading if right else set_cell_size(heading, width)

    def row_segments(self, row: TableRow, background: Style) -> list[Segment]:
        """The line of a row: signs, name, and the columns of the page."""
        marked = row.key in self.marked
        sign = "✓" if marked else "⌃" if row.pinned else " "
        shape = (" ▸" if row.folded else " ▾") if row.is_group else f" {labels.curve_marker(row.place)}"
        colour = Style.parse(labels.curve_colour(row.place))
        name = set_cell_size(("  " if row.inside else "") + row.name, self.geometry.widths["run"])
        segments = [
            Segment(sign, background + Style(bold=True)),
            Segment(f"{shape} ", background + colour),
            Segment(name, background + Style(bold=marked or row.is_group)),
        ]
        for number in self.geometry.pages[self.turned]:
            column, cell = self.columns[number], self.cells[row.key][number]
            width = self.geometry.widths[column.key]
            text = cell.text if width > 1 else cell.text[:1]
            fits = cell_len(text) <= width
            padded = " " * (width - cell_len(text)) + text if column.right and fits else set_cell_size(text, width)
            segments.append(Segment(" " * GAP + padded, background + self.style_named(cell.style)))
        return segments

    def style_named(self, style: str) -> Style:
        """A cell's style: a theme variable after `$`, or a Rich style."""
        if style.startswith("$"):
            colour = self.app.theme_variables.get(style[1:], "")
            return Style.parse(colour) if colour.startswith("#") else Style()
        if style == "dim":
            muted = self.get_component_rich_style("table--dim")  # a colour that suits the background of the theme
            return Style(color=muted.color)
        return Style.parse(style)

    # Moving

    def on_resize(self) -> None:
        """Lay the columns out again for the new width."""
        self.measure()
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        self.follow_cursor()
        self.refresh()

    def watch_cursor(self, old: int, new: int) -> None:
        """Redraw the two lines that change, and bring the cursor into view."""
        for line in (old, new):
            self.refresh_lines(line + 1)
        self.follow_cursor()
        self.post_message(RowHighlighted(self.selected))

    def follow_cursor(self) -> None:
        """Scroll so that the row under the cursor can be seen."""
        visible, top = max(1, self.size.height - 1), self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + visible:
            self.scroll_to(y=self.cursor - visible + 1, animate=False, force=True)

    def move_to(self, key: str) -> None:
        """Move the cursor to a row, if it is shown."""
        self.cursor = next((line for line, row in enumerate(self.rows) if row.key == key), self.cursor)

    def action_move(self, lines: int) -> None:
        """Move the cursor down by `lines`."""
        self.cursor = max(0, min(self.cursor + lines, len(self.rows) - 1))

    def action_page(self, pages: int) -> None:
        """Move the cursor down by `pages` screens."""
        self.action_move(pages * max(1, self.size.height - 2))

    def action_turn(self, by: int) -> None:
        """Turn the pages of columns by `by`."""
        turned = max(0, min(self.turned + by, len(self.geometry.pages) - 1))
        if turned != self.turned:
            self.turned = turned
            self.refresh()

    def action_open(self) -> None:
        """Open the row under the cursor."""
        if self.selected is not None:
            self.post_message(RowOpened(self.selected))

    def on_click(self, event: events.Click) -> None:
        """A click on a heading sorts by it; a click on a row moves the cursor there, a second one opens it."""
        if event.y == 0:
            key = self.geometry.column_at(event.x, self.columns, self.turned)
            if key is not None:
                self.post_message(HeadingClicked(key))
            return
        line = event.y - 1 + self.scroll_offset.y
        if 0 <= line < len(self.rows):
            if line == self.cursor:
                self.action_open()
            self.cursor = line
