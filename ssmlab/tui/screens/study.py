"""The main screen: the table of runs, curves and a log, and the keys that launch, stop and compare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widget import Widget

from ssmlab.core.text import listed
from ssmlab.project.launched import log_path
from ssmlab.tui.messages import RowHighlighted, RowOpened
from ssmlab.tui.screens.launching import LAUNCH_KEYS, Launching
from ssmlab.tui.screens.studies import STUDY_KEYS, Studies
from ssmlab.tui.screens.table_screen import TABLE_KEYS, TableScreen, key

if TYPE_CHECKING:
    from ssmlab.tui.widgets.curve_panel import CurvePanel
    from ssmlab.tui.widgets.log_pane import LogPane

PANES = ("ssmlab.tui.widgets.curve_panel", "ssmlab.tui.widgets.log_pane")
SETTLE = 0.06  # seconds; curves and log follow the cursor after this delay


class StudyScreen(Launching, Studies, TableScreen):
    """The table of runs, with curves and a log below it, or beside it in a wide terminal."""

    heading = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        *LAUNCH_KEYS,
        *TABLE_KEYS,
        *STUDY_KEYS,
        key("c", "compare", "compare", "put the marked runs side by side", True),
        key("i", "samples", "samples", "test images that an attack has flipped"),
        key("x", "axis", "x axis", "curves by epoch, step or time"),
        key("m", "smooth", "smooth", "the values themselves, or moving means over 3, 7, 15 epochs"),
        key("l", "switch_log", "log", "the log of the run, or of the launch"),
        key("z", "panes", "panes", "curves and log, or the table alone"),
        key("v", "paths", "files", "say where the files of the run are"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.log_of_launch = False
        self.settling = False
        self.panes_wanted = False
        self.curves: CurvePanel | None = None
        self.log_pane: LogPane | None = None

    def body(self) -> Iterable[Widget]:
        """The table, and room for the curves and a log."""
        yield from super().body()
        yield Vertical(id="below")

    def on_mount(self) -> None:
        """Show the panes or the table alone, as remembered."""
        self.set_class(not self.lab.preferences.panes, "table-alone")

    @work(group="panes")
    async def add_panes(self) -> None:
        """Add the curves and the log. Plots take long to import, so the table is drawn first."""
        await asyncio.to_thread(lambda: [import_module(name) for name in PANES])
        from ssmlab.tui.widgets.curve_panel import CurvePanel
        from ssmlab.tui.widgets.log_pane import LogPane

        curves, log = CurvePanel(("clean", "robust"), id="curves"), LogPane(id="log")
        await self.query_one("#below").mount(curves, log)
        self.curves, self.log_pane = curves, log
        self.show_chosen()

    def show_chosen(self) -> None:
        """Draw the curves of the chosen rows and the log of the run under the cursor."""
        look, below = self.look, self.query_one("#below")
        if look is None or look.paths is None or not below.display:
            return
        if self.curves is None or self.log_pane is None:
            if not self.panes_wanted:
                self.panes_wanted = True
                self.call_after_refresh(self.add_panes)
            return
        preferences = self.lab.preferences
        self.curves.show(self.chosen_rows(), preferences.axis, preferences.window)
        selected = self.table.selected
        own = selected.members[0].status.log if selected is not None and not self.log_of_launch else None
        path = own or log_path(look.paths)
        self.log_pane.follow(path, str(path.relative_to(look.paths.root)))

    @on(RowHighlighted)
    def follow_cursor(self) -> None:
        """Update curves and log after a short delay, so that a held key stays fast."""
        if not self.settling:
            self.settling = True
            self.set_timer(SETTLE, self.settle)

    def settle(self) -> None:
        """Update curves and log, after the cursor has not moved for a moment."""
        self.settling = False
        self.show_chosen()

    # Keys

    def chosen_names(self) -> list[str]:
        """The runs of the chosen rows, in the order in which they were marked."""
        by_key = {row.key: row for row in self.table.rows}
        rows = [by_key[mark] for mark in self.marks if mark in by_key] or self.chosen_rows()
        return list(dict.fromkeys(view.name for row in rows for view in row.members))

    @on(RowOpened)
    def open_row(self, event: RowOpened) -> None:
        """Show all about a run, or fold or unfold a group."""
        if event.row.is_group:
            self.rearrange(self.how.toggled(event.row.name))
        elif self.look is not None and self.look.params is not None:
            from ssmlab.tui.details import run_details
            from ssmlab.tui.screens.dialogs import Reading

            view, params = event.row.members[0], self.look.params
            table = run_details(view, params, self.look.now)
            self.app.push_screen(Reading(f"{view.name} of {params.study}", table))

    def action_axis(self) -> None:
        """Switch to the next x axis."""
        self.lab.preferences.next_axis()
        self.show_chosen()

    def action_smooth(self) -> None:
        """Switch to the next width of the moving mean."""
        self.lab.preferences.next_window()
        self.show_chosen()

    def action_switch_log(self) -> None:
        """Switch between the log of the run and the log of the launch."""
        self.log_of_launch = not self.log_of_launch
        self.show_chosen()

    def action_panes(self) -> None:
        """Show curves and log, or the table alone."""
        self.lab.preferences.panes = not self.lab.preferences.panes
        self.set_class(not self.lab.preferences.panes, "table-alone")
        self.call_after_refresh(self.show_chosen)

    def action_paths(self) -> None:
        """Say where the files of the run are."""
        row, look = self.table.selected, self.look
        if row is None or look is None or look.paths is None:
            return
        paths, name = look.paths, row.members[0].name
        relative: Callable[[Path], str] = lambda path: str(path.relative_to(paths.root))  # noqa: E731
        self.say(listed(map(relative, (paths.live(name), paths.model(name), paths.attack(name)))))

    def action_samples(self) -> None:
        """Show test images of the run under the cursor that an attack has flipped."""
        row = self.table.selected
        if row is not None and (params := self.params_in_use()) is not None:
            from ssmlab.tui.screens.samples import SamplesScreen

            self.app.push_screen(SamplesScreen(row.members[0].name, tuple(params.attack.attacks)))

    def action_compare(self) -> None:
        """Put the marked runs or groups side by side."""
        by_key = {row.key: row for row in self.table.rows}
        names = [by_key[mark].name for mark in self.marks if mark in by_key]
        if len(names) < 2 or self.look is None or self.look.paths is None:
            self.say("mark two runs or groups with space, then press c")
            return
        self.lab.compare(list(dict.fromkeys(names)))
