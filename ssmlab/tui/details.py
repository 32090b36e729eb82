"""Two tables for a window: everything about one run, and the list of keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.table import Table
from rich.text import Text

from ssmlab.core.plain_values import dotted_leaves
from ssmlab.params import Params
from ssmlab.tui import labels
from ssmlab.tui.look import RunView


def run_details(view: RunView, params: Params, now: float) -> Table:
    """The state, accuracies and all parameters of a run; parameters in which the study's runs differ are bold."""
    table = Table.grid(padding=(0, 2))
    for key, value in state_lines(view, ("clean", *params.attack.attacks), now):
        table.add_row(Text(key, style="dim"), Text(value))
    table.add_row("", "")
    runs = {name: dict(dotted_leaves(run.plain())) for name, run in params.runs.items()}
    for key, value in runs.get(view.name, {}).items():
        differs = any(other.get(key) != value for other in runs.values())
        table.add_row(Text(key, style="bold" if differs else "dim"), Text(str(value), style="bold" if differs else ""))
    return table


def state_lines(view: RunView, measures: Iterable[str], now: float) -> Iterator[tuple[str, str]]:
    """The state, accuracies and warnings of a run as pairs of a label and a value; the tests in order of `measures`."""
    status = view.status
    yield "state", f"{labels.GLYPHS[status.state]} {status.words}" + (f": {status.task}" if status.task else "")
    for reason in status.reasons:
        yield "changed", reason
    if status.updated is not None:
        yield "last heartbeat", f"{labels.short_duration(max(0.0, now - status.updated))} ago"
    if status.rows:
        yield "now, selection split", f"epoch {status.rows[-1].epoch}: {accuracies(status.clean, status.robust)}"
        yield "best, selection split", f"epoch {status.best_epoch}: {accuracies(status.best_clean, status.best_robust)}"
    for measure in (name for name in measures if name in view.tests):
        test = view.tests[measure]
        interval = f"{100 * test.low:.1f} to {100 * test.high:.1f}"
        earlier = "" if view.tests_are_current else ", of an earlier training"
        yield f"test, {measure}", f"{labels.accuracy(test.value)} (95% interval {interval}, n = {test.n}{earlier})"
    for warning in view.warnings:
        yield "warning", warning


def accuracies(clean: float | None, robust: float | None) -> str:
    """`81.2 clean, 64.0 robust`, in percent."""
    return f"{labels.accuracy(clean)} clean, {labels.accuracy(robust)} robust"


def key_table(keys: Iterable[tuple[str, str, str]]) -> Table:
    """What every key does and what every state means."""
    table = Table.grid(padding=(0, 2))
    for key, name, about in keys:
        table.add_row(Text(key, style="bold"), name, Text(about, style="dim"))
    table.add_row("", "", "")
    for word, meaning in labels.MEANINGS.items():
        table.add_row(labels.GLYPHS[word], word, Text(meaning, style="dim"))
    return table
