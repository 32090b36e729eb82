"""Decides which runs the table shows, and in which order: filter, groups, sorting, pins. Needs no Textual."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ssmlab.tui.columns import SortKey, TableColumn
from ssmlab.tui.look import RunView

COMPARED = re.compile(r"([a-z_]+)([<>])(-?\d+(?:\.\d+)?)")
FIELDS: dict[str, Callable[[RunView], str]] = {
    "run": lambda view: view.name,
    "group": lambda view: view.group,
    "model": lambda view: view.status.model,
    "regime": lambda view: view.regime,
    "state": lambda view: view.status.state,
}


@dataclass(frozen=True)
class Arrangement:
    """The user's settings for the table.

    Attributes:
        filter: words; a run must match all of them, see `matches`.
        sort: the key of a column; empty for the order of params.yaml.
        descending: whether the highest value comes first.
        grouped: whether runs that differ only in their seed are listed below a group line.
        folded: groups whose runs are hidden.
        pins: keys of rows that always come first.
    """

    filter: str = ""
    sort: str = ""
    descending: bool = True
    grouped: bool = True
    folded: frozenset[str] = frozenset()
    pins: tuple[str, ...] = ()

    def sorted_by(self, key: str) -> Arrangement:
        """Sort by this column: first call highest first, second call lowest first, third call not sorted."""
        if self.sort != key:
            return replace(self, sort=key, descending=True)
        return replace(self, descending=False) if self.descending else replace(self, sort="", descending=True)

    def pinned(self, key: str) -> Arrangement:
        """Pin this row, or unpin it if it is pinned."""
        without = tuple(pin for pin in self.pins if pin != key)
        return replace(self, pins=without if key in self.pins else (*self.pins, key))

    def toggled(self, group: str) -> Arrangement:
        """Fold this group, or unfold it if it is folded."""
        return replace(self, folded=self.folded ^ {group})


@dataclass(frozen=True)
class TableRow:
    """One line of the table: a run, or a group of several runs.

    Attributes:
        key: the name of the run, or `group:NAME`.
        members: the run, or the runs of the group.
        inside: whether it is a run below the line of its group.
        pinned, folded: whether the user has pinned or folded it.
    """

    key: str
    members: tuple[RunView, ...]
    is_group: bool = False
    inside: bool = False
    pinned: bool = False
    folded: bool = False

    @property
    def name(self) -> str:
        """The text of the first column."""
        return self.members[0].group if self.is_group else self.members[0].name

    @property
    def place(self) -> int:
        """The place that determines the colour and the marker of its curve."""
        return self.members[0].group_place if self.is_group else self.members[0].place


def arrange(runs: Sequence[RunView], how: Arrangement, columns: Sequence[TableColumn]) -> list[TableRow]:
    """The table's rows from top to bottom."""
    predicate = matches(how.filter, columns)
    chosen = [view for view in runs if predicate(view)]
    units: list[TableRow] = []
    if how.grouped:
        by_group: dict[str, list[RunView]] = {}
        for view in chosen:
            by_group.setdefault(view.group, []).append(view)
        large = {name for name, members in by_group.items() if len(members) > 1}
        for group, members in by_group.items():
            if group in large:
                units.append(TableRow(f"group:{group}", tuple(members), True, folded=group in how.folded))
            else:
                units.append(TableRow(members[0].name, (members[0],)))
    else:
        units = [TableRow(view.name, (view,)) for view in chosen]
    lines: list[TableRow] = []
    for unit in in_order(units, how, columns):
        lines.append(unit)
        if unit.is_group and not unit.folded:
            inner = [TableRow(view.name, (view,), inside=True) for view in unit.members]
            lines += in_order(inner, how, columns)
    return lines


def in_order(rows: Iterable[TableRow], how: Arrangement, columns: Sequence[TableColumn]) -> list[TableRow]:
    """Sorted rows, pinned ones first; rows without a value come last in both directions."""
    marked = [replace(row, pinned=row.key in how.pins) if row.key in how.pins else row for row in rows]
    column = next((column for column in columns if column.key == how.sort), None)
    sort = (lambda row: row.name) if how.sort == "run" else column and (lambda row: column.sort(row.members))
    if sort:
        keys: dict[str, SortKey] = {row.key: sort(row) for row in marked}
        known = [row for row in marked if keys[row.key] is not None]
        known.sort(key=lambda row: keys[row.key], reverse=how.descending)  # type: ignore[arg-type, return-value]
        marked = known + [row for row in marked if keys[row.key] is None]
    return sorted(marked, key=lambda row: not row.pinned)


def matches(text: str, columns: Sequence[TableColumn]) -> Callable[[RunView], bool]:
    """A test of whether a run matches every word of a filter.

    A word is a regular expression (plain text if it is not a valid one). It is searched in name, group, model, regime
    and state, ignoring case. `model:ads`, `regime:`, `state:`, `run:`, `group:` search only one of these. `robust>40`
    and `epoch<5` compare the number in a column; accuracies are in percent. A leading `!` negates a word.
    """
    tests = [word_test(word, columns) for word in text.split()]
    return lambda view: all(test(view) for test in tests)


def word_test(word: str, columns: Sequence[TableColumn]) -> Callable[[RunView], bool]:
    """The test of one word."""
    if word.startswith("!") and len(word) > 1:
        inner = word_test(word[1:], columns)
        return lambda view: not inner(view)
    compared = COMPARED.fullmatch(word)
    column = next((each for each in columns if compared and each.key == compared[1]), None)
    if compared and column is not None:
        return number_test(column, compared[2], float(compared[3]))
    name, colon, rest = word.partition(":")
    if colon and name in FIELDS:
        read, wanted = FIELDS[name], pattern(rest)
        return lambda view: wanted.search(read(view)) is not None
    wanted = pattern(word)
    return lambda view: any(wanted.search(read(view)) for read in FIELDS.values())


def number_test(column: TableColumn, sign: str, limit: float) -> Callable[[RunView], bool]:
    """A test of a column's number against a limit; a run without that number does not match."""

    def test(view: RunView) -> bool:
        value = column.sort((view,))
        if not isinstance(value, (int, float)):
            return False
        scaled = value if column.key in ("epoch", "best_epoch", "rate", "eta", "age") else 100 * value
        return scaled > limit if sign == ">" else scaled < limit

    return test


def pattern(text: str) -> re.Pattern[str]:
    """The text as a regular expression, or as plain text if it is not a valid one (`ads(`)."""
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error:
        return re.compile(re.escape(text), re.IGNORECASE)
