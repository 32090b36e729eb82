"""The columns of the table of runs: what each says of a run, and of a group of runs that differ in their seed alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from ssmlab.tui import labels
from ssmlab.tui.follower import RunView, TestAccuracy

SortKey = float | str | None
Members = Sequence[RunView]


@dataclass(frozen=True)
class Cell:
    """What stands in one cell. `style`: a Rich style, or the name of a theme variable after `$`."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: what sorting and the remembered settings call it. heading: above it. about: the heading in words.
        cell: the cell of a row's runs: one run, or all of a group. sort: the same as something to sort by.
        rank: columns of lower rank are given up later where there is no room. right: whether it is aligned right.
        least: cells wide at least, so that columns do not jump while numbers grow.
    """

    key: str
    heading: str
    about: str
    cell: Callable[[Members, float], Cell]
    sort: Callable[[Members], SortKey]
    rank: int
    right: bool = True
    least: int = 0


def text_column(
    key: str, heading: str, about: str, text: Callable[[RunView], str], rank: int, least: int = 0
) -> Column:
    """A column of words; of a group what all its runs say."""

    def cell(members: Members, _: float) -> Cell:
        words = dict.fromkeys(map(text, members))
        return Cell(next(iter(words)) if len(words) == 1 else "", "dim")

    return Column(key, heading, about, cell, lambda members: text(members[0]), rank, right=False, least=least)


def number_column(
    key: str,
    heading: str,
    about: str,
    value: Callable[[RunView], float | None],
    shown: Callable[[float | None], str],
    rank: int,
    least: int = 5,
    spread: bool = False,
    style: str = "",
    combine: Callable[[Sequence[float]], float] = fmean,
) -> Column:
    """A column of numbers; of a group `combine` of them, with their standard deviation if `spread`."""

    def known(members: Members) -> list[float]:
        return [number for view in members if (number := value(view)) is not None]

    def cell(members: Members, _: float) -> Cell:
        numbers = known(members)
        if not numbers:
            return Cell(labels.NOTHING, "dim")
        text = shown(combine(numbers))
        if spread and len(numbers) > 1:
            text += f" ±{100 * stdev(numbers):.1f}"
        return Cell(text, style)

    def sort(members: Members) -> SortKey:
        numbers = known(members)
        return combine(numbers) if numbers else None

    return Column(key, heading, about, cell, sort, rank, least=least)


def state_word(view: RunView) -> str:
    """The state; of a training that was stopped before its last epoch `stopped early`."""
    early = view.status.state == "stopped" and view.status.stage != "attack"
    return "stopped early" if early else view.status.state


def state_cell(members: Members, _: float) -> Cell:
    """`▶ training`; of a group how many are in which state: `▶1 ✔2`."""
    counts: Counter[str] = Counter(map(state_word, members))
    if len(counts) == 1:
        word = next(iter(counts))
        variable = labels.COLOURS.get(word)
        return Cell(labels.state(word), f"${variable}" if variable else "dim")
    order = list(labels.GLYPHS)
    words = sorted(counts, key=lambda word: order.index(word) if word in order else len(order))
    return Cell(" ".join(f"{labels.GLYPHS.get(word, '·')}{counts[word]}" for word in words))


def epoch_cell(members: Members, _: float) -> Cell:
    """`3/10`; of a group from the run least far to the run furthest: `3-10/10`."""
    first, last = min(view.status.epoch for view in members), max(view.status.epoch for view in members)
    if not last:
        return Cell(labels.NOTHING, "dim")
    epochs = max(view.status.epochs for view in members)
    return Cell(f"{first}/{epochs}" if first == last else f"{first}-{last}/{epochs}")


def gap_of(view: RunView) -> float | None:
    """Best minus present robust accuracy on the selection split: robust overfitting so far."""
    best, now = view.status.best_robust, view.status.robust
    return None if best is None or now is None else best - now


def age_cell(members: Members, now: float) -> Cell:
    """How old the youngest sign of life is."""
    times = [view.status.updated for view in members if view.status.updated is not None]
    return Cell(labels.age(max(0.0, now - max(times))) if times else labels.NOTHING, "dim")


def task_cell(members: Members, _: float) -> Cell:
    """What is being done, how it ended, or what has changed; of a group how many seeds it has."""
    status = members[0].status
    text = f"{len(members)} seeds" if len(members) > 1 else status.task or "; ".join(status.reasons)
    return Cell(text, "dim")


def test_column(measure: str, rank: int) -> Column:
    """The accuracy of the best checkpoint on the test images; of a single run with its interval."""

    def found(members: Members) -> list[TestAccuracy]:
        return [view.tests[measure] for view in members if measure in view.tests]

    def cell(members: Members, _: float) -> Cell:
        tests = found(members)
        if not tests:
            return Cell(labels.NOTHING, "dim")
        text = labels.percent(fmean(test.value for test in tests))
        if len(tests) > 1:
            return Cell(f"{text} ±{100 * stdev(test.value for test in tests):.1f}")
        return Cell(f"{text} [{100 * tests[0].low:.0f}-{100 * tests[0].high:.0f}]")

    def sort(members: Members) -> SortKey:
        tests = found(members)
        return fmean(test.value for test in tests) if tests else None

    about = f"test accuracy of the best checkpoint, {measure}, with its 95% interval; of a group mean and deviation"
    return Column(f"test:{measure}", f"{measure} test", about, cell, sort, rank, least=5)


def columns_for(measures: Sequence[str]) -> tuple[Column, ...]:
    """Every column of a study whose best checkpoints are attacked in these ways (`clean` among them)."""
    validation = "on the selection split, in percent"
    fixed = (
        text_column("model", "model", "the model", lambda view: view.status.model, 5),
        text_column("regime", "regime", "how it is trained", lambda view: view.regime, 9),
        Column("state", "state", "its state", state_cell, lambda m: m[0].status.state, 0, right=False, least=11),
        Column("epoch", "epoch", "epoch k of n", epoch_cell, lambda m: float(m[0].status.epoch), 1, least=5),
        number_column(
            "clean",
            "clean",
            f"clean accuracy now, {validation}",
            lambda v: v.status.clean,
            labels.percent,
            2,
            spread=True,
        ),
        number_column(
            "robust",
            "robust",
            f"robust accuracy now, {validation}",
            lambda v: v.status.robust,
            labels.percent,
            1,
            6,
            True,
        ),
        number_column(
            "best",
            "best",
            f"robust accuracy of the best epoch, {validation}",
            lambda v: v.status.best_robust,
            labels.percent,
            2,
            spread=True,
            style="bold",
        ),
        number_column(
            "best_clean",
            "its clean",
            f"clean accuracy of the best epoch, {validation}",
            lambda v: v.status.best_clean,
            labels.percent,
            8,
            spread=True,
        ),
        number_column(
            "best_epoch", "at", "the best epoch", lambda v: v.status.best_epoch, lambda n: f"{n:.3g}", 6, least=3
        ),
        number_column(
            "gap", "gap", "RO gap so far: best minus present robust accuracy, in points", gap_of, labels.points, 6
        ),
    )
    tests = tuple(test_column(measure, 4) for measure in measures)
    return (
        *fixed,
        *tests,
        number_column(
            "rate", "img/s", "images a second", lambda v: v.status.images_per_second, labels.rate, 5, style="dim"
        ),
        number_column(
            "eta", "ETA", "time to the end of the stage", lambda v: v.status.eta, labels.duration, 3, 6, combine=max
        ),
        Column("age", "age", "since the last sign of life", age_cell, youngest, 5, least=3),
        Column("task", "", "what is being done", task_cell, lambda m: m[0].status.task, 10, right=False, least=12),
    )


def youngest(members: Members) -> Any:
    """The time of the last sign of life."""
    times = [view.status.updated for view in members if view.status.updated is not None]
    return max(times) if times else None
