"""The table of runs: one row a run, and only the cells that changed are drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from ssmlab.project.status import RunStatus
from ssmlab.tui import labels

HEADINGS = {
    "mark": "",
    "run": "run",
    "model": "model",
    "state": "state",
    "epoch": "epoch",
    "clean": "clean",
    "robust": "robust",
    "best": "best",
    "rate": "img/s",
    "eta": "ETA",
    "task": "",
}
NUMBERS = frozenset({"epoch", "clean", "robust", "best", "rate", "eta"})
# Wide enough for what comes later, so that columns do not jump while numbers grow.
LEAST = {"state": len("◆ attacking"), "epoch": 5, "clean": 5, "robust": 6, "best": 5, "rate": 5, "eta": 6}
SHORTEST_TASK = 12


@dataclass(frozen=True)
class Cell:
    """What stands in one cell; compared with what stood there before."""

    text: str
    style: str = ""
    justify: Literal["left", "right"] = "left"

    def drawn(self) -> Text:
        """As the table takes it."""
        return Text(self.text, style=self.style, justify=self.justify, no_wrap=True, overflow="ellipsis")


class RunsTable(DataTable[Text]):
    """Runs with state, progress and accuracies. The dot before a name has the colour of the run's curve."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "details", key_display="⏎")]

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cursor_foreground_priority="renderable")
        self.statuses: tuple[RunStatus, ...] = ()
        self.marked: list[str] = []
        self._cells: dict[tuple[str, str], Cell] = {}
        self._shape: tuple[object, ...] = ()

    def show(self, statuses: Sequence[RunStatus]) -> None:
        """Draw these runs; rows and columns are made anew only where the runs or the widths have changed."""
        self.statuses = tuple(statuses)
        names = [status.name for status in statuses]
        self.marked = [name for name in self.marked if name in names]
        rows = {status.name: self._row(status) for status in statuses}
        widths = self._widths(list(rows.values()))
        wanted = {(name, key): rows[name][key] for name in names for key in widths}
        shape = (tuple(names), tuple(widths.items()))
        if shape != self._shape:
            self._rebuild(wanted, widths)
            self._shape = shape
        for (name, key), cell in wanted.items():
            if self._cells.get((name, key)) != cell:
                self.update_cell(name, key, cell.drawn())
        self._cells = wanted

    def on_resize(self) -> None:
        """Give up columns, or bring them back, as the room demands."""
        self.show(self.statuses)

    def redraw(self) -> None:
        """Draw every cell again: the theme's colours have changed."""
        self._shape = ()
        self.show(self.statuses)

    @property
    def selected(self) -> RunStatus | None:
        """The run under the cursor."""
        return self.statuses[self.cursor_row] if 0 <= self.cursor_row < len(self.statuses) else None

    @property
    def chosen(self) -> list[RunStatus]:
        """The marked runs in the order they were marked; the one under the cursor if none is."""
        by_name = {status.name: status for status in self.statuses}
        if self.marked:
            return [by_name[name] for name in self.marked]
        return [self.selected] if self.selected is not None else []

    def toggle(self, name: str) -> None:
        """Mark a run, or take its mark away."""
        if name in self.marked:
            self.marked.remove(name)
        else:
            self.marked.append(name)
        self.show(self.statuses)

    def toggle_all(self) -> None:
        """Mark every run, or none if all are marked."""
        names = [status.name for status in self.statuses]
        self.marked = [] if len(self.marked) == len(names) else names
        self.show(self.statuses)

    def colour(self, name: str) -> str:
        """The colour of a run's dot and curve."""
        return labels.curve_colour([status.name for status in self.statuses].index(name))

    def _row(self, status: RunStatus) -> dict[str, Cell]:
        marked = status.name in self.marked
        variable = labels.COLOURS.get(status.state)
        state_style = self.app.theme_variables.get(variable, "") if variable else "dim"
        cells = {
            "mark": Cell("●" if marked else "○", self.colour(status.name)),
            "run": Cell(status.name, "bold" if marked else ""),
            "model": Cell(status.model, "dim"),
            "state": Cell(labels.state(status), state_style),
            "epoch": Cell(labels.epochs(status)),
            "clean": Cell(labels.accuracy(status.clean)),
            "robust": Cell(labels.accuracy(status.robust)),
            "best": Cell(labels.accuracy(status.best_robust), "bold"),
            "rate": Cell(labels.rate(status.images_per_second), "dim"),
            "eta": Cell(labels.span(status.eta)),
            "task": Cell(status.task, "dim"),
        }
        return {key: aligned(cell) if key in NUMBERS else cell for key, cell in cells.items()}

    def _widths(self, rows: list[dict[str, Cell]]) -> dict[str, int]:
        """Columns that have room, with their widths."""
        widths = {
            key: max(LEAST.get(key, 0), len(heading), *(len(row[key].text) for row in rows), 0)
            for key, heading in HEADINGS.items()
        }
        del widths["task"]
        if self._room(widths) < 0:
            del widths["model"]
        room = self._room(widths) - 2 * self.cell_padding
        if room >= SHORTEST_TASK:
            widths["task"] = room  # all that is left, so that the columns stand still while tasks come and go
        return widths

    def _room(self, widths: dict[str, int]) -> int:
        return self.size.width - sum(widths.values()) - 2 * self.cell_padding * len(widths)

    def _rebuild(self, cells: dict[tuple[str, str], Cell], widths: dict[str, int]) -> None:
        row = self.cursor_row
        self.clear(columns=True)
        for key, width in widths.items():
            justify: Literal["left", "right"] = "right" if key in NUMBERS else "left"
            self.add_column(Text(HEADINGS[key], justify=justify), width=width, key=key)
        for status in self.statuses:
            self.add_row(*(cells[status.name, key].drawn() for key in widths), key=status.name)
        self._cells = dict(cells)
        self.move_cursor(row=row)


def aligned(cell: Cell) -> Cell:
    """A number's cell; what is not known is faint."""
    return Cell(cell.text, "dim" if cell.text == labels.NOTHING else cell.style, "right")
