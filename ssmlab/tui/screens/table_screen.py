"""A screen with the table of runs, and the keys that arrange it: mark, sort, pin, fold, group, filter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input

from ssmlab.tui.arrange import Arrangement, TableRow, arrange
from ssmlab.tui.columns import TableColumn, columns_for
from ssmlab.tui.look import Look
from ssmlab.tui.messages import HeadingClicked
from ssmlab.tui.screens.base import LabScreen
from ssmlab.tui.screens.dialogs import Choice
from ssmlab.tui.widgets.runs_table import RunsTable

AGES_EVERY = 10.0  # seconds between two redraws of the ages, which are in minutes
FILTER_HINT = "filter: words, regex, model:ads state:failed robust>40 !word"


def key(keys: str, action: str, name: str, about: str, show: bool = False, display: str | None = None) -> Binding:
    """A binding with its name in the palette; the name with hyphens is its id in tui.toml."""
    return Binding(keys, action, name, show=show, key_display=display, tooltip=about, id=name.replace(" ", "-"))


TABLE_KEYS: list[BindingType] = [
    key("space", "mark", "mark", "mark the run: marked runs share the curves", True),
    key("a", "mark_all", "mark all", "mark all runs and folded groups that are shown, or none"),
    key("slash", "filter", "filter", "words, regex, model:ads, state:failed, robust>40, !word", True, "/"),
    key("S", "sort", "sort", "choose the column to sort by (or click its heading)"),
    key("p", "pin", "pin", "keep the run at the top"),
    key("f", "fold", "fold", "fold the runs of the group, or unfold them"),
    key("F", "fold_all", "fold all groups", "fold all groups, or unfold them"),
    key("g", "group", "group by seeds", "group runs that differ only in their seed: on or off"),
]


class TableScreen(LabScreen):
    """The table of runs with its filter.

    Attributes:
        how: how the table is arranged.
        marks: keys of the marked rows, in the order in which they were marked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.how = Arrangement()
        self.study: str | None = None
        self.columns: tuple[TableColumn, ...] = ()
        self.marks: list[str] = []
        self.drawn: tuple[object, ...] = ()
        self.drawn_at = 0.0

    def body(self) -> Iterable[Widget]:
        """The table and the filter."""
        yield RunsTable(id="runs")
        yield Input(placeholder=FILTER_HINT, id="filter", compact=True)

    def on_mount(self) -> None:
        """Focus the table."""
        self.table.focus()
        self.app.theme_changed_signal.subscribe(self, lambda _: self.table.refresh())

    @property
    def table(self) -> RunsTable:
        """The table of runs."""
        return self.query_one(RunsTable)

    def show_look(self, look: Look) -> None:
        """Draw the table, unless nothing has changed."""
        if look.params is None:
            return
        if self.study != look.params.study:
            self.begin_study(look.params.study)
        self.columns = columns_for(("clean", *look.params.attack.attacks))
        shown = (look.runs, self.how, tuple(self.marks))
        if self.drawn[:2] == shown[:2] and 0 <= look.now - self.drawn_at < AGES_EVERY:
            if shown != self.drawn:
                self.drawn = shown
                self.table.mark(frozenset(self.marks))
                self.show_chosen()
            return
        self.drawn, self.drawn_at = shown, look.now
        names = {view.name for view in look.runs} | {f"group:{view.group}" for view in look.runs}
        self.marks = [mark for mark in self.marks if mark in names]
        rows = arrange(look.runs, self.how, self.columns)
        self.table.show(rows, self.columns, frozenset(self.marks), (self.how.sort, self.how.descending), look.now)
        self.filter_box.display = bool(self.how.filter) or self.focused is self.filter_box
        self.show_chosen()

    def begin_study(self, study: str) -> None:
        """Take up the remembered arrangement of another study."""
        self.study = study
        self.how = self.lab.preferences.arrangement(study)
        self.marks = []
        self.filter_box.value = self.how.filter

    def show_chosen(self) -> None:
        """Draw what belongs to the chosen rows; called whenever these may have changed."""

    @property
    def filter_box(self) -> Input:
        """The input for the filter."""
        return self.query_one("#filter", Input)

    def chosen_rows(self) -> list[TableRow]:
        """The marked rows, the one under the cursor last; only that one if none is marked."""
        selected = self.table.selected
        if not self.marks:
            return [selected] if selected is not None else []
        rows = [row for row in self.table.rows if row.key in self.marks]
        return sorted(rows, key=lambda row: selected is not None and row.key == selected.key)

    def rearrange(self, how: Arrangement) -> None:
        """Arrange the table differently, and remember it for the study."""
        self.how = how
        if self.study is not None:
            self.lab.preferences.remember(self.study, how)
        if self.look is not None:
            self.show_look(self.look)

    @on(HeadingClicked)
    def sort_by_click(self, event: HeadingClicked) -> None:
        """Sort by the column whose heading was clicked."""
        self.rearrange(self.how.sorted_by(event.key))

    @work(group="sort")
    async def action_sort(self) -> None:
        """Choose the column to sort by; choosing it again reverses the order."""
        options = [("run", "the name"), *((column.key, column.about) for column in self.columns)]
        chosen = await self.app.push_screen_wait(Choice("sort by", options, self.how.sort))
        if chosen:
            self.rearrange(self.how.sorted_by(chosen))

    def action_mark(self) -> None:
        """Mark or unmark the row under the cursor."""
        row = self.table.selected
        if row is not None:
            self.marks = [m for m in self.marks if m != row.key] if row.key in self.marks else [*self.marks, row.key]
            self.rearrange(self.how)

    def action_mark_all(self) -> None:
        """Mark all runs that are shown, and the groups whose runs are folded, or nothing if all are marked."""
        keys = [row.key for row in self.table.rows if not row.is_group or row.folded]
        self.marks = [] if set(keys) <= set(self.marks) else keys
        self.rearrange(self.how)

    def action_pin(self) -> None:
        """Pin or unpin the row under the cursor."""
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
        """Switch between groups of seeds and single runs."""
        self.rearrange(replace(self.how, grouped=not self.how.grouped))

    def action_filter(self) -> None:
        """Start typing a filter."""
        self.filter_box.display = True
        self.set_focus(self.filter_box)  # at once: after `focus()`, the next keys may still go to the table

    @on(Input.Changed, "#filter")
    def filter_typed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        if event.value != self.how.filter:
            self.rearrange(replace(self.how, filter=event.value))

    @on(Input.Submitted, "#filter")
    def filter_done(self) -> None:
        """Go back to the table and keep the filter."""
        self.table.focus()
        self.filter_box.display = bool(self.how.filter)

    def on_key(self, event: object) -> None:
        """Escape removes the filter."""
        if getattr(event, "key", "") == "escape" and (self.how.filter or self.filter_box.has_focus):
            self.filter_box.value = ""
            self.table.focus()
            self.rearrange(replace(self.how, filter=""))
            self.filter_box.display = False
