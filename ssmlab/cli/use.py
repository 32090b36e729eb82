"""`ssmlab use`: the studies there are, and which one params.yaml holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.records import FormatOption, ListFormat, records_text
from ssmlab.core.errors import UserError
from ssmlab.core.text import printable

SHOWN = 40  # changed keys of runs that `use` prints; a grid has hundreds


def use(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]", help="A file of studies/, without .yaml.", autocompletion=completion.study_names
        ),
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Put a value in, for example train.epochs=3.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a params.yaml with edits of yours; it is kept as a backup.")
    ] = False,
    format: FormatOption = ListFormat.table,
) -> None:
    """Switch params.yaml to another study, showing what changes; without STUDY, list them (* is in use)."""
    from ssmlab.project import switch as studies

    root = Path()
    known = {each.name: each for each in studies.studies(root)}
    if name is None:
        in_use = studies.in_use(root / "params.yaml")
        if not known:
            raise UserError(f"{root.resolve()}: no studies here; change to a project's folder (params.yaml, studies/)")
        if format is not ListFormat.table:
            columns = ("name", "in_use", "data", "runs", "title")
            rows = [
                {"name": each.name, "in_use": each.name == in_use, "data": each.data, "runs": each.runs}
                | {"title": each.title}
                for each in known.values()
            ]
            typer.echo(records_text("studies", columns, rows, format), nl=False)
            return
        names, data = (
            max(map(len, column), default=0) for column in (known, (each.data or "" for each in known.values()))
        )
        for each in known.values():
            mark = "*" if each.name == in_use else " "
            runs = f"{each.runs:>3} runs" if each.runs else ""
            typer.echo(
                f"{mark} {each.name:<{names}}  {each.data or '':<{data}}  {runs:>8}  {printable(each.title, 200)}"
            )
        return
    settings = dict(setting(text) for text in set or [])
    if name in known:
        changes = studies.study_changes(root / "params.yaml", known[name].path, settings)
        of_runs = [change for change in changes if change.key.startswith("runs.")]
        many = len(of_runs) > SHOWN
        for change in changes:
            if not (many and change in of_runs):
                typer.echo(f"  {change.key}: {brief(change.old)} -> {brief(change.new)}")
        if many:
            typer.echo(f"  runs: {len(of_runs)} more keys differ")
    if dry_run and name in known:
        typer.echo("nothing was changed (--dry-run)")
        return
    backup = studies.use(name, root, settings=settings, force=force)
    if backup is not None:
        typer.echo(f"your edited params.yaml is kept as {backup}")
    typer.echo(f"params.yaml is now the study {name}; run it with `ssmlab repro`")


def setting(text: str) -> tuple[str, str]:
    """KEY=VALUE in two; raises UserError if it is not that."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UserError(f"--set {text}: KEY=VALUE is needed, for example data.source=../mnist")
    return key, value


def brief(value: str | None) -> str:
    """A value as it is written, cut where it is long, or a dash where there is none."""
    if value is None:
        return "-"
    return value if len(value) <= 60 else value[:57] + "..."
