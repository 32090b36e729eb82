"""The study at a glance: its runs, their curves, a log; and the keys that launch, stop and compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from ssmlab.core.text import listed
from ssmlab.project import launch
from ssmlab.tui.arrange import Arrangement, Row, arrange
from ssmlab.tui.columns import Column, columns_for
from ssmlab.tui.details import run_details
from ssmlab.tui.follower import Look
from ssmlab.tui.messages import HeadingClicked, RowHighlighted, RowOpened
from ssmlab.tui.screens.base import LabScreen
from ssmlab.tui.screens.dialogs import Choice, Reading
from ssmlab.tui.screens.launching import LAUNCH_KEYS, Launching
from ssmlab.tui.series import AXES, SMOOTHING
from ssmlab.tui.widgets.curve_panel import CurvePanel
from ssmlab.tui.widgets.log_pane import LogPane
from ssmlab.tui.widgets.runs_table import RunsTable

SETTLE = 0.06  # seconds without another key before curves and log follow the cursor
AGES_EVERY = 10.0  # seconds between two writings of the ages, which are in minutes


def key(keys: str, action: str, name: str, about: str, show: bool = False, display: str | None = None) -> Binding:
    """A binding whose name is in the palette and whose id is what tui.toml calls it."""
    return Binding(keys, action, name, show=show, key_display=display, tooltip=about, id=name.replace(" ", "-"))


class StudyScreen(Launching, LabScreen):
    """Everything about one study on one screen."""

    heading = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        *LAUNCH_KEYS,
        key("space", "mark", "mark", "mark the run: marked runs share the curves", True),
        key("a", "mark_all", "mark all", "mark all runs that are shown, or none"),
        key("c", "compare", "compare", "put the marked runs side by side", True),
        key("slash", "filter", "filter", "words, regex, model:ads, state:failed, robust>40, !word", True, "/"),
        key("S", "sort", "sort", "choose the column to sort by (or click its heading)"),
        key("p", "pin", "pin", "keep the run at the top"),
        key("f", "fold", "fold", "fold the runs of the group, or unfold them"),
        key("F", "fold_all", "fold all groups", "fold all groups, or unfold them"),
        key("g", "group", "group by seeds", "groups of runs that differ in their seed alone, or none"),
        key("x", "axis", "x axis", "curves by epoch, step or time"),
        key("m", "smooth", "smooth", "curves as they are, or as moving means of 3, 7, 15 epochs"),
        key("l", "switch_log", "log", "the log of the run, or of the launch"),
        key("z", "panes", "panes", "curves and log, or the table alone"),
        key("v", "paths", "files", "where the files of the run lie"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.how = Arrangement()
        self.study: str | None = None
        self.columns: tuple[Column, ...] = ()
        self.marks: list[str] = []
        self.log_of_launch = False
        self.drawn: tuple[object, ...] = ()
        self.drawn_at = 0.0
        self.settling = False

    def body(self) -> Iterable[Widget]:
        """The table, and below it (beside each other where it is wide) the curves and a log."""
        yield RunsTable(id="runs")
        yield Input(
            placeholder="filter: words, regex, model:ads state:failed robust>40 !word", id="filter", compact=True
        )
        with Vertical(id="below"):
            yield CurvePanel(("clean", "robust"), id="curves")
            yield LogPane(id="log")

    def on_mount(self) -> None:
        """Begin on the table."""
        self.table.focus()
        self.set_class(not self.lab.preferences.panes, "table-alone")
        self.app.theme_changed_signal.subscribe(self, lambda _: self.table.redraw())

    @property
    def table(self) -> RunsTable:
        """The table of runs."""
        return self.query_one(RunsTable)

    # What is shown

    def show_look(self, look: Look) -> None:
        """Draw what was seen; nothing is made anew while nothing has changed."""
        if look.params is None:
            return
        if self.study != look.params.study:
            self.study = look.params.study
            self.how = self.lab.preferences.arrangement(self.study)
            self.marks = []
            self.query_one("#filter", Input).value = self.how.filter
        self.columns = columns_for(("clean", *look.params.attack.attacks))
        shown = (look.runs, self.how, tuple(self.marks))
        if shown == self.drawn and 0 <= look.now - self.drawn_at < AGES_EVERY:
            return
        self.drawn, self.drawn_at = shown, look.now
        names = {view.name for view in look.runs} | {f"group:{view.group}" for view in look.runs}
        self.marks = [mark for mark in self.marks if mark in names]
        rows = arrange(look.runs, self.how, self.columns)
        self.table.show(rows, self.columns, frozenset(self.marks), (self.how.sort, self.how.descending), look.now)
        self.query_one("#filter", Input).display = bool(self.how.filter) or self.query_one("#filter", Input).has_focus
        self.show_chosen()

    def show_chosen(self) -> None:
        """The curves of the marked rows, and the log of the run under the cursor."""
        look, below = self.look, self.query_one("#below")
        if look is None or look.paths is None or not below.display:
            return
        preferences = self.lab.preferences
        self.query_one("#curves", CurvePanel).show(self.chosen_rows(), preferences.axis, preferences.window)
        selected = self.table.selected
        own = selected.members[0].status.log if selected is not None and not self.log_of_launch else None
        path = own or launch.log_path(look.paths)
        self.query_one(LogPane).follow(path, str(path.relative_to(look.paths.root)))

    def chosen_rows(self) -> list[Row]:
        """The marked rows, the one under the cursor last; that one alone if none is marked."""
        selected = self.table.selected
        if not self.marks:
            return [selected] if selected is not None else []
        rows = [row for row in self.table.rows if row.key in self.marks]
        return sorted(rows, key=lambda row: selected is not None and row.key == selected.key)

    def chosen_names(self) -> list[str]:
        """The runs of the chosen rows, in the order they were marked."""
        by_key = {row.key: row for row in self.table.rows}
        rows = [by_key[mark] for mark in self.marks if mark in by_key] or self.chosen_rows()
        return list(dict.fromkeys(view.name for row in rows for view in row.members))

    def rearrange(self, how: Arrangement) -> None:
        """Show the table in another way, and remember it."""
        self.how = how
        if self.study is not None:
            self.lab.preferences.remember(self.study, how)
        if self.look is not None:
            self.show_look(self.look)

    @on(RowHighlighted)
    def follow_cursor(self) -> None:
        """Let curves and log follow once the cursor rests, so that a held key is not held up."""
        if not self.settling:
            self.settling = True
            self.set_timer(SETTLE, self.settle)

    def settle(self) -> None:
        """The cursor has rested for a moment."""
        self.settling = False
        self.show_chosen()

    # Keys

    @on(RowOpened)
    def open_row(self, event: RowOpened) -> None:
        """A run whole; a group is folded or unfolded."""
        if event.row.is_group:
            self.rearrange(self.how.toggled(event.row.name))
        elif self.look is not None and self.look.params is not None:
            view, params = event.row.members[0], self.look.params
            table = run_details(view, params, self.look.now)
            self.app.push_screen(Reading(f"{view.name} of {params.study}", table))

    @on(HeadingClicked)
    def sort_by_click(self, event: HeadingClicked) -> None:
        """Sort by the column whose heading was clicked."""
        self.rearrange(self.how.sorted_by(event.key))

    @work(group="sort")
    async def action_sort(self) -> None:
        """Choose the column to sort by; the same one again turns the order round."""
        options = [("run", "the name"), *((column.key, column.about) for column in self.columns)]
        chosen = await self.app.push_screen_wait(Choice("sort by", options, self.how.sort))
        if chosen:
            self.rearrange(self.how.sorted_by(chosen))

    def action_mark(self) -> None:
        """Mark the row under the cursor, or take its mark away."""
        row = self.table.selected
        if row is not None:
            self.marks = [m for m in self.marks if m != row.key] if row.key in self.marks else [*self.marks, row.key]
            self.rearrange(self.how)

    def action_mark_all(self) -> None:
        """Mark all runs that are shown, or none if all are marked."""
        keys = [row.key for row in self.table.rows if not row.is_group]
        self.marks = [] if set(keys) <= set(self.marks) else keys
        self.rearrange(self.how)

    def action_pin(self) -> None:
        """Pin the row under the cursor to the top, or no longer."""
        if self.table.selected is not None:
            self.rearrange(self.how.pinned(self.table.selected.key))

    def action_fold(self) -> None:
        """Fold or unfold the group of the row under the cursor."""
        row = self.table.selected
        if row is not None and (row.is_group or row.inside):
            self.rearrange(self.how.toggled(row.members[0].group))
            self.table.move_to(f"group:{row.members[0].group}")

    def action_fold_all(self) -> None:
        """Fold all groups, or unfold them if all are folded."""
        groups = frozenset(row.name for row in self.table.rows if row.is_group)
        self.rearrange(replace(self.how, folded=frozenset() if groups <= self.how.folded else groups))

    def action_group(self) -> None:
        """Show groups of seeds, or every run by itself."""
        self.rearrange(replace(self.how, grouped=not self.how.grouped))

    def action_filter(self) -> None:
        """Type a filter."""
        box = self.query_one("#filter", Input)
        box.display = True
        box.focus()

    @on(Input.Changed, "#filter")
    def filter_typed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.value != self.how.filter:
            self.rearrange(replace(self.how, filter=event.value))

    @on(Input.Submitted, "#filter")
    def filter_done(self) -> None:
        """Back to the table, with the filter."""
        self.table.focus()
        self.query_one("#filter", Input).display = bool(self.how.filter)

    def on_key(self, event: object) -> None:
        """Escape takes a filter away."""
        if getattr(event, "key", "") == "escape" and (self.how.filter or self.query_one("#filter", Input).has_focus):
            self.query_one("#filter", Input).value = ""
            self.table.focus()
            self.rearrange(replace(self.how, filter=""))
            self.query_one("#filter", Input).display = False

    def action_axis(self) -> None:
        """The next axis."""
        preferences = self.lab.preferences
        preferences.axis = AXES[(AXES.index(preferences.axis) + 1) % len(AXES)] if preferences.axis in AXES else AXES[0]
        self.show_chosen()

    def action_smooth(self) -> None:
        """The next width of the moving mean."""
        preferences = self.lab.preferences
        wider = [window for window in SMOOTHING if window > preferences.window]
        preferences.window = wider[0] if wider else SMOOTHING[0]
        self.show_chosen()

    def action_switch_log(self) -> None:
        """From the run's log to the launch's, and back."""
        self.log_of_launch = not self.log_of_launch
        self.show_chosen()

    def action_panes(self) -> None:
        """Curves and log below the table, or the table alone."""
        self.lab.preferences.panes = not self.lab.preferences.panes
        self.set_class(not self.lab.preferences.panes, "table-alone")
        self.call_after_refresh(self.show_chosen)

    def action_paths(self) -> None:
        """Say where the files of the run lie."""
        row, look = self.table.selected, self.look
        if row is None or look is None or look.paths is None:
            return
        paths, name = look.paths, row.members[0].name
        relative: Callable[[Path], str] = lambda path: str(path.relative_to(paths.root))  # noqa: E731
        self.say(listed(map(relative, (paths.live(name), paths.model(name), paths.attack(name)))))

    def action_compare(self) -> None:
        """Put the marked runs or groups side by side."""
        by_key = {row.key: row for row in self.table.rows}
        names = [by_key[mark].name for mark in self.marks if mark in by_key]
        if len(names) < 2 or self.look is None or self.look.paths is None:
            self.say("mark two runs or groups with space, then press c")
            return
        self.lab.compare(list(dict.fromkeys(names)))
