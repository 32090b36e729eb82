"""The columns of the table of runs, for a single run and for a group of runs that differ only in their seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from ssmlab.tui import labels
from ssmlab.tui.look import RunView, TestAccuracy

SortKey = float | str | None
RunViews = Sequence[RunView]
Value = Callable[[RunView], float | None]


@dataclass(frozen=True)
class Cell:
    """The content of one cell. `style` is a Rich style, or `$` and the name of a theme variable."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class TableColumn:
    """One column.

    Attributes:
        key: its name in the sort setting.
        heading: the text above it.
        about: a full description.
        cell: returns the cell for one run or for all runs of a group.
        sort: returns the value to sort by.
        rank: columns with lower ranks are kept if there is no room for all.
        right: whether it is right-aligned.
        least: the least width in cells, so that columns do not move while numbers grow.
    """

    key: str
    heading: str
    about: str
    cell: Callable[[RunViews, float], Cell]
    sort: Callable[[RunViews], SortKey]
    rank: int
    right: bool = True
    least: int = 0


def text_column(
    key: str, heading: str, about: str, text: Callable[[RunView], str], rank: int, least: int = 0
) -> TableColumn:
    """A column of text; a group shows a text only if all its runs have the same."""

    def cell(members: RunViews, _: float) -> Cell:
        words = dict.fromkeys(map(text, members))
        return Cell(next(iter(words)) if len(words) == 1 else "", "dim")

    return TableColumn(key, heading, about, cell, lambda members: text(members[0]), rank, right=False, least=least)


def number_column(
    key: str,
    heading: str,
    about: str,
    value: Value,
    shown: Callable[[float | None], str],
    rank: int,
    least: int = 5,
    spread: bool = False,
    style: str = "",
    combine: Callable[[Sequence[float]], float] = fmean,
) -> TableColumn:
    """A column of numbers; a group shows `combine` of them, with the standard deviation if `spread`."""

    def known(members: RunViews) -> list[float]:
        return [number for view in members if (number := value(view)) is not None]

    def cell(members: RunViews, _: float) -> Cell:
        numbers = known(members)
        if not numbers:
            return Cell(labels.NOTHING, "dim")
        text = shown(combine(numbers))
        if spread and len(numbers) > 1:
            text += f" ±{100 * stdev(numbers):.1f}"
        return Cell(text, style)

    def sort(members: RunViews) -> SortKey:
        numbers = known(members)
        return combine(numbers) if numbers else None

    return TableColumn(key, heading, about, cell, sort, rank, least=least)


def state_word(view: RunView) -> str:
    """The state as text; a training that was stopped before its last epoch is `stopped early`."""
    return "stopped early" if view.status.stopped_early else view.status.state


def state_cell(members: RunViews, _: float) -> Cell:
    """`▶ training`; for a group the number of runs in each state: `▶1 ✔2`."""
    counts: Counter[str] = Counter(map(state_word, members))
    if len(counts) == 1:
        word = next(iter(counts))
        variable = labels.COLOURS.get(word)
        return Cell(labels.state(word), f"${variable}" if variable else "dim")
    order = list(labels.GLYPHS)
    words = sorted(counts, key=lambda word: order.index(word) if word in order else len(order))
    return Cell(" ".join(f"{labels.GLYPHS.get(word, '·')}{counts[word]}" for word in words))


def epoch_cell(members: RunViews, _: float) -> Cell:
    """`3/10`; for a group the range over its runs: `3-10/10`."""
    first, last = min(view.status.epoch for view in members), max(view.status.epoch for view in members)
    if not last:
        return Cell(labels.NOTHING, "dim")
    epochs = max(view.status.epochs for view in members)
    return Cell(f"{first}/{epochs}" if first == last else f"{first}-{last}/{epochs}")


def gap_of(view: RunView) -> float | None:
    """Best minus latest robust accuracy on the selection split: the RO gap so far."""
    best, now = view.status.best_robust, view.status.robust
    return None if best is None or now is None else best - now


def age_cell(members: RunViews, now: float) -> Cell:
    """The time since the latest heartbeat of the row's runs."""
    times = [view.status.updated for view in members if view.status.updated is not None]
    return Cell(labels.age(max(0.0, now - max(times))) if times else labels.NOTHING, "dim")


def task_cell(members: RunViews, _: float) -> Cell:
    """The present work, the end of the run, or what has changed; for a group its number of seeds."""
    status = members[0].status
    text = f"{len(members)} seeds" if len(members) > 1 else status.task or "; ".join(status.reasons)
    return Cell(text, "dim")


def test_column(measure: str, rank: int) -> TableColumn:
    """A column of test accuracies of the best checkpoint; a single run also shows its interval."""

    def found(members: RunViews) -> list[TestAccuracy]:
        return [view.tests[measure] for view in members if measure in view.tests]

    def cell(members: RunViews, _: float) -> Cell:
        tests = found(members)
        if not tests:
            return Cell(labels.NOTHING, "dim")
        text = labels.accuracy(fmean(test.value for test in tests))
        style = "" if all(view.tests_are_current for view in members) else "dim"
        if len(tests) > 1:
            return Cell(f"{text} ±{100 * stdev(test.value for test in tests):.1f}", style)
        return Cell(f"{text} [{100 * tests[0].low:.0f}-{100 * tests[0].high:.0f}]", style)

    def sort(members: RunViews) -> SortKey:
        tests = found(members)
        return fmean(test.value for test in tests) if tests else None

    about = (
        f"test accuracy of the best checkpoint, {measure}, with its 95% interval; for a group mean and deviation; "
        "dim if it belongs to an earlier training"
    )
    return TableColumn(f"test:{measure}", f"{measure} test", about, cell, sort, rank, least=5)


def youngest(members: RunViews) -> Any:
    """The time of the latest heartbeat, as a sort value."""
    times = [view.status.updated for view in members if view.status.updated is not None]
    return max(times) if times else None


VALIDATION = "on the selection split, in percent"


def validation_column(key: str, heading: str, about: str, value: Value, rank: int, style: str = "") -> TableColumn:
    """A column of validation accuracies; a group shows mean and standard deviation."""
    return number_column(key, heading, f"{about}, {VALIDATION}", value, labels.accuracy, rank, spread=True, style=style)


SETTING_COLUMNS = (
    text_column("model", "model", "the model", lambda v: v.status.model, 5),
    text_column("regime", "regime", "how it is trained", lambda v: v.regime, 9),
    TableColumn("state", "state", "its state", state_cell, lambda m: m[0].status.state, 0, right=False, least=11),
    TableColumn("epoch", "epoch", "epoch k of n", epoch_cell, lambda m: float(m[0].status.epoch), 1, least=5),
)
TRAINING_COLUMNS = (
    validation_column("clean", "clean", "clean accuracy now", lambda v: v.status.clean, 2),
    validation_column("robust", "robust", "robust accuracy now", lambda v: v.status.robust, 1),
    validation_column("best", "best", "robust accuracy of the best epoch", lambda v: v.status.best_robust, 2, "bold"),
    validation_column("best_clean", "best clean", "clean accuracy of the best epoch", lambda v: v.status.best_clean, 8),
    number_column(
        "best_epoch", "best at", "the best epoch", lambda v: v.status.best_epoch, lambda n: f"{n:.3g}", 6, least=3
    ),
    number_column("gap", "gap", "RO gap: best minus latest robust accuracy, in points", gap_of, labels.difference, 6),
)
PROGRESS_COLUMNS = (
    number_column(
        "rate", "img/s", "images per second", lambda v: v.status.images_per_second, labels.rate, 5, style="dim"
    ),
    number_column(
        "eta", "ETA", "time to the end of the stage", lambda v: v.status.eta, labels.short_duration, 3, 6, combine=max
    ),
    TableColumn("age", "age", "time since its last heartbeat", age_cell, youngest, 5, least=3),
    TableColumn("task", "", "what is being done", task_cell, lambda m: m[0].status.task, 10, right=False, least=12),
)


def columns_for(measures: Sequence[str]) -> tuple[TableColumn, ...]:
    """All columns for a study with these measures of the best checkpoints (`clean` and its attacks)."""
    tests = (test_column(measure, 4) for measure in measures)
    return (*SETTING_COLUMNS, *TRAINING_COLUMNS, *tests, *PROGRESS_COLUMNS)
