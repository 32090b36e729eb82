"""Compares runs, groups or checkpoints with the numbers of `ssmlab compare`, and shows their curves below."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Iterable
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.measure import Measurement
from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer
from textual.widget import Widget
from textual.widgets import Static

from ssmlab.analysis.compare.compare import Comparison, compare
from ssmlab.core.errors import ProtocolMismatch, UserError
from ssmlab.report.terminal.tables import comparison_measures, comparison_settings, render, style_of
from ssmlab.tui.arrange import Arrangement, TableRow, arrange
from ssmlab.tui.look import Look
from ssmlab.tui.screens.base import BACK, LabScreen
from ssmlab.tui.widgets.curve_panel import CurvePanel

PADDING = 6  # cells beside the tables
WIDEST = 2000  # cells for a table without a limit of its width


class CompareScreen(LabScreen):
    """The comparison that `ssmlab compare` prints; the first entry is the reference. No number is cut."""

    heading = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        Binding(
            "f",
            "force",
            "compare anyway",
            tooltip="although the protocols differ; the comparison is marked",
            id="force",
        ),
        Binding(
            "i", "layout", "one by one", tooltip="one entry below the other, with intervals and n", id="one-by-one"
        ),
        Binding("e", "every", "every parameter", tooltip="all parameters, or only those that differ", id="every"),
    ]

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        self.unequal = False
        self.comparison: Comparison | None = None
        self.one_by_one = self.all_parameters = False

    def body(self) -> Iterable[Widget]:
        """The tables, and the curves below them if there is room."""
        with ScrollableContainer(id="comparison"):
            yield Static("", id="text", markup=False)
        yield CurvePanel(("clean", "robust"), id="curves")

    def on_mount(self) -> None:
        self.query_one("#comparison").focus()
        self.show_comparison()

    def check_action(self, action: str, _: tuple[object, ...]) -> bool | None:
        """Offer to force a comparison only if it was rejected."""
        return self.unequal if action == "force" else True

    def show_look(self, look: Look) -> None:
        """Draw the curves again; the numbers come from finished attacks and do not change."""
        rows = arrange(look.runs, Arrangement(), ())
        by_name = {row.name: row for row in sorted(rows, key=lambda row: not row.inside)}  # a group before its run
        chosen: list[TableRow] = [by_name[name] for name in self.names if name in by_name]
        preferences = self.lab.preferences
        self.query_one(CurvePanel).show(chosen, preferences.axis, preferences.window)

    def on_resize(self) -> None:
        """Choose the layout again for the new width."""
        self.draw()

    def action_force(self) -> None:
        """Compare results of different protocols; the comparison is marked as such."""
        self.show_comparison(force=True)

    def action_layout(self) -> None:
        """Switch between one entry below the other and side by side."""
        self.one_by_one = not self.one_by_one
        self.draw()

    def action_every(self) -> None:
        """All parameters, or only those that differ."""
        self.all_parameters = not self.all_parameters
        self.draw()

    @work(exclusive=True)
    async def show_comparison(self, force: bool = False) -> None:
        """Compare in a thread, and show the comparison or why there is none."""
        look = self.look
        if look is None or look.paths is None:
            return
        self.say("reading the results ...")
        try:
            self.comparison = await self.unless_closed(asyncio.to_thread(compare, self.names, look.paths, force))
        except UserError as error:
            self.unequal = isinstance(error, ProtocolMismatch)
            self.say(str(error), "bad")
        else:
            self.unequal = False
            self.say("")
            self.draw()
        self.refresh_bindings()

    def draw(self) -> None:
        """Show the comparison in the layout that fits."""
        if self.comparison is None:
            return
        room = self.size.width - PADDING
        beside = render(self.comparison, "table", all_parameters=self.all_parameters, measures_first=True)
        width = self.width_of_tables(beside)
        text = self.query_one("#text", Static)
        if self.one_by_one or width > room:
            shown = below_each_other(self.comparison, self.all_parameters, room)
            text.styles.width = max(cell_len(line.plain) for line in shown)
            text.update(Group(*shown))
        else:
            text.styles.width = room  # notes are wrapped; the tables keep their width
            text.update(beside)

    def width_of_tables(self, shown: RenderableType) -> int:
        """The cells that the widest table needs. Sentences around the tables do not count: they can be wrapped."""
        unbounded = self.app.console.options.update(max_width=WIDEST)
        tables = [each for each in shown.renderables if not isinstance(each, Text)] if isinstance(shown, Group) else []
        return max((Measurement.get(self.app.console, unbounded, table).maximum for table in tables), default=0)


def below_each_other(comparison: Comparison, all_parameters: bool, room: int) -> list[Text]:
    """Lines for one entry after the other: every measure with interval, n and delta, then its parameters.

    A line that is wider than `room` cells is broken between its parts, never inside a number.
    """
    settings, measures = comparison_settings(comparison, all_parameters), comparison_measures(comparison)
    without_interval = len(measures.rows) - len(comparison.lines)  # sizes, seeds and epochs come before the measures
    label_width = max(cell_len(row[0]) for row in measures.rows)
    lines = wrapped(comparison.mismatch or "", room, "bold red")
    for place, entry in enumerate(comparison.entries):
        lines += [Text()] if lines else []
        lines.append(Text(entry.name, style="bold underline"))
        value_column = 1 if place == 0 else 2 * place
        for number, row in enumerate(measures.rows):
            delta = row[value_column + 1] if place else ""
            parts = [
                Text(f"{set_cell_size(row[0], label_width)} {row[value_column]:>8}"),
                Text(spread_of(comparison, number - without_interval, place), style="dim"),
                Text(delta, style=style_of(delta)),
            ]
            lines += broken(parts, room)
        lines += [Text(f"{row[0]}: {row[1 + place]}", style="dim") for row in settings.rows]
    return [*lines, *(line for note in comparison.notes for line in wrapped(note, room, "yellow"))]


def wrapped(text: str, room: int, style: str) -> list[Text]:
    """A sentence in lines of at most `room` cells."""
    return [Text(line, style=style) for line in textwrap.wrap(text, max(20, room))]


def broken(parts: list[Text], room: int) -> list[Text]:
    """The parts of a line side by side as far as they fit; the rest is indented below."""
    lines: list[Text] = []
    for part in parts:
        if not part.plain:
            continue
        if lines and lines[-1].cell_len + 3 + part.cell_len <= room:
            lines[-1].append("   ").append_text(part)
        else:
            lines.append(Text("    ").append_text(part) if lines else part)
    return lines


def spread_of(comparison: Comparison, line: int, place: int) -> str:
    """`79.0 to 83.4, n 1000`: the interval of a single training's value."""
    if line < 0:
        return ""
    cell = comparison.lines[line].values[place]
    if cell.n is None:
        return ""
    interval = f"{100 * cell.interval[0]:.1f} to {100 * cell.interval[1]:.1f}, " if cell.interval else ""
    return f"{interval}n {cell.n}"
