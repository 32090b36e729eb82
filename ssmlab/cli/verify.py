"""`ssmlab verify`: checks whether the files of the study are as they were written."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ssmlab.cli.base import fail, study
from ssmlab.cli.records import FormatOption, JsonOption, ListFormat, records_text
from ssmlab.core.text import few, listed

COLUMNS = ("path", "state", "problem", "remedy")


def verify(format: FormatOption = ListFormat.table, as_json: JsonOption = False) -> None:
    """Read and hash every file of the study; exit code 1 if one is damaged, with the command that repairs it."""
    from rich.console import Console

    from ssmlab.cli.interrupts import interruptible
    from ssmlab.cli.progress import display
    from ssmlab.project.verify import verify as check_files

    _, paths = study()
    with interruptible(), display(Console(stderr=True)) as on_event:
        found = check_files(paths, on_event)
    form = ListFormat.json if as_json else format
    if form is not ListFormat.table:
        typer.echo(records_text("verify", COLUMNS, [asdict(each) for each in found], form), nl=False)
    else:
        for each in found:
            if each.problem:
                colour = typer.colors.RED if each.is_lost else typer.colors.YELLOW
                typer.echo(f"{typer.style(each.state, fg=colour)}  {each.path}: {each.problem}\n    -> {each.remedy}")
    lost = [each.path for each in found if each.is_lost]
    if lost:
        fail(f"{len(lost)} of {len(found)} files are damaged or missing: {listed(few(lost))}", 1)
    if form is ListFormat.table:
        typer.echo(f"{len(found)} files were read and hashed; none is damaged")
