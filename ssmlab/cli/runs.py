"""`ssmlab runs` and `ssmlab alerts`: what `ssmlab tui` shows, as tables and for scripts."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssmlab.cli.options import IntervalOption
from ssmlab.cli.records import FormatOption, JsonOption, ListFormat, records_text
from ssmlab.core.collector import collector_paused
from ssmlab.core.errors import UserError
from ssmlab.core.text import printable

if TYPE_CHECKING:
    from ssmlab.tui.follower import StudyFollower
    from ssmlab.tui.look import Look, RunView

COLUMNS = (
    *("name", "model", "regime", "group", "state", "stage", "epoch", "epochs", "clean", "robust"),
    *("best_clean", "best_robust", "best_epoch", "images_per_second", "eta", "updated", "task", "reasons"),
)


def runs(
    format: FormatOption = ListFormat.table,
    as_json: JsonOption = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Keep running: update the table, or print a line of JSON after every change."),
    ] = False,
    interval: IntervalOption = 1.0,
) -> None:
    """List the study's runs: state, epoch, clean and robust accuracy now and best, and their tests in JSON and CSV."""
    form = ListFormat.json if as_json else format
    if not watch:
        with collector_paused():
            print_runs(form)
    elif form is ListFormat.json:
        watch_as_json(study_follower(), interval)
    elif form is ListFormat.table:
        watch_as_table(study_follower(), interval)
    else:
        raise UserError(f"--watch writes a table or JSON, not {form.value}; leave out --format, or add --json")


def print_runs(form: ListFormat) -> None:
    """The runs as they are now."""
    look = whole_look(study_follower(tests=form is not ListFormat.table))
    if form is ListFormat.table:
        print_table(look)
    else:
        typer.echo(rows_text(look, form), nl=False)
    for view in look.runs:
        if view.status.unread:
            text = f"warning: {view.name}: its state may be wrong: {view.status.unread}"
            typer.secho(printable(text), err=True, fg=typer.colors.YELLOW)


def alerts(format: FormatOption = ListFormat.table, as_json: JsonOption = False) -> None:
    """List what needs attention: diverged, failed, killed or silent runs, warnings of evaluations, a full disk."""
    from ssmlab.tui.alerts import alerts_of

    with collector_paused():
        found = alerts_of(whole_look(study_follower()))
    form = ListFormat.json if as_json else format
    if form is not ListFormat.table:
        columns = ("kind", "run", "text")
        typer.echo(records_text("alerts", columns, [asdict(alert) for alert in found], form), nl=False)
        return
    for alert in found:
        kind = typer.style(alert.kind, fg=typer.colors.YELLOW)
        typer.echo(f"{kind}  {alert.run}: {alert.text}" if alert.run else f"{kind}  {alert.text}")
    if not found:
        typer.echo("no alerts")


def study_follower(tests: bool = True) -> StudyFollower:
    """A follower of the current folder that reads all runs at once; with `tests`, also their test accuracies."""
    from ssmlab.tui.follower import StudyFollower

    return StudyFollower(Path(), runs_at_once=None, results_at_once=None if tests else 0)


def whole_look(follower: StudyFollower) -> Look:
    """The current state of the study; raises UserError if its params.yaml cannot be read."""
    look = follower.look(time.time())
    if look.params is None:
        raise UserError(look.problem or "params.yaml: cannot be read")
    return look


def rows_text(look: Look, form: ListFormat) -> str:
    """The runs as JSON, CSV or Markdown; test accuracies are columns such as `test_fgsm`, `test_fgsm_low`."""
    measures = ("clean", *look.params.attack.attacks) if look.params is not None else ()
    tests = tuple(f"test_{measure}{part}" for measure in measures for part in ("", "_low", "_high", "_n"))
    return records_text("runs", (*COLUMNS, *tests), [run_record(view) for view in look.runs], form)


def run_record(view: RunView) -> dict[str, Any]:
    """One run as a flat record."""
    status = view.status
    record = {name: getattr(status, name) for name in COLUMNS if hasattr(status, name)}
    record |= {"regime": view.regime, "group": view.group, "reasons": "; ".join(status.reasons)}
    for measure, test in view.tests.items():
        record |= {f"test_{measure}": test.value, f"test_{measure}_low": test.low, f"test_{measure}_high": test.high}
        record[f"test_{measure}_n"] = test.n
    return record


def print_table(look: Look) -> None:
    """The runs as a table."""
    from rich.console import Console

    from ssmlab.report.terminal.tables import status_table

    Console().print(status_table([view.status for view in look.runs]))


def watch_as_json(follower: StudyFollower, interval: float) -> None:
    """Print a line of JSON now and after every change, until it is interrupted."""
    last = ""
    while True:
        text = rows_text(whole_look(follower), ListFormat.json)
        if text != last:
            typer.echo(text, nl=False)
            last = text
        time.sleep(interval)


def watch_as_table(follower: StudyFollower, interval: float) -> None:
    """Draw the table again and again in place, until it is interrupted; without a terminal, as lines."""
    from rich.live import Live

    from ssmlab.report.terminal.tables import status_table

    with Live(auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            live.update(status_table([view.status for view in whole_look(follower).runs]), refresh=True)
            time.sleep(interval)
