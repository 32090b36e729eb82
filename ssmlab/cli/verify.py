"""`ssmlab verify`: is everything of the study as it was written?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ssmlab.cli.base import fail, study
from ssmlab.cli.records import ListFormat, records_text


def verify(as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """Read every file of the study and hash it again; code 1 where one is damaged, with the command that repairs it."""
    from rich.console import Console

    from ssmlab.cli.interrupts import interruptible
    from ssmlab.cli.progress import display
    from ssmlab.project.verify import verify as check_files

    _, paths = study()
    with interruptible(), display(Console(stderr=True)) as on_event:
        found = check_files(paths, on_event)
    if as_json:
        columns = ("path", "state", "problem", "remedy")
        typer.echo(records_text("verify", columns, [asdict(each) for each in found], ListFormat.json), nl=False)
    else:
        for each in found:
            if each.problem:
                colour = typer.colors.RED if each.is_lost else typer.colors.YELLOW
                typer.echo(f"{typer.style(each.state, fg=colour)}  {each.path}: {each.problem}\n    -> {each.remedy}")
    lost = sum(each.is_lost for each in found)
    if lost:
        fail(f"{lost} of {len(found)} files are damaged or missing", 1)
    if not as_json:
        typer.echo(f"{len(found)} files were read and hashed; none is damaged")
