"""`ssmlab use`: lists the studies, and switches params.yaml to another one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import refuse_options
from ssmlab.cli.records import FormatOption, ListFormat, records_text
from ssmlab.core.errors import UserError
from ssmlab.core.text import printable

if TYPE_CHECKING:
    from ssmlab.project.study_changes import Change

SHOWN = 8  # changed keys; of more, `use` prints the most telling ones, because two studies differ in dozens


def use(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]", help="A file of studies/, without .yaml.", autocompletion=completion.study_names
        ),
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a value, for example train.epochs=3.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a params.yaml that you have edited; a backup is kept.")
    ] = False,
    all: Annotated[bool, typer.Option("--all", help="Show every key that changes, not only the main ones.")] = False,
    format: FormatOption = ListFormat.table,
) -> None:
    """Switch params.yaml to another study, showing what changes; without STUDY, list them (* is in use)."""
    if name is None:
        changes = " ".join(set) if set else None
        given = {"--set": changes, "--dry-run": dry_run, "--force": force, "--all": all}
        refuse_options(given, "name the study to use")
        list_studies(Path(), format)
        return
    if format is not ListFormat.table:
        raise UserError(
            f"--format {format.value}: it is for the list of studies; leave it or {printable(name, 80)} out"
        )
    switch_to(name, dict(setting(text) for text in set or []), dry_run, force, all)


def switch_to(name: str, settings: Mapping[str, str], dry_run: bool, force: bool, every: bool) -> None:
    """Show what using the study changes (`every` key, or the main ones), and use it unless this is a dry run."""
    from ssmlab.project import switch
    from ssmlab.project.study_changes import most_telling, study_changes

    target = next((each.path for each in switch.studies(Path()) if each.name == name), None)
    if target is not None:
        changed = study_changes(Path("params.yaml"), target, settings)
        show_changes(changed, changed if every else most_telling(changed, SHOWN, settings))
        if dry_run:
            typer.echo("nothing was changed (--dry-run)")
            return
    backup = switch.use(name, Path(), settings=settings, force=force)  # raises for an unknown name
    if backup is not None:
        typer.echo(f"your edited params.yaml is kept as {backup}")
    typer.echo(f"params.yaml is now the study {name}; run it with `ssmlab repro`")
    if Path(source := settings.get("data.source", "")).is_absolute():
        say_how_to_share(Path(source))


def say_how_to_share(source: Path) -> None:
    """Say how to keep the path of this machine out of params.yaml, which is shared."""
    folder, path = shlex.quote(str(source.parent)), shlex.quote(f"data.source={source.name}")
    typer.echo(
        f"note: params.yaml now has a path of this machine. If you share it, use `--set {path}` instead, and name the "
        f"folder in the environment: export SSMLAB_DATA={folder}"
    )


def list_studies(root: Path, form: ListFormat) -> None:
    """Print the studies of the project in `root`; raises UserError if there are none."""
    from ssmlab.project import switch

    found = switch.studies(root)
    if not found:
        raise switch.no_studies(root)
    in_use = switch.in_use(root / "params.yaml")
    if form is not ListFormat.table:
        columns = ("name", "in_use", "data", "runs", "title")
        rows = [{"in_use": each.name == in_use, **asdict(each)} for each in found]
        typer.echo(records_text("studies", columns, rows, form), nl=False)
        return
    names, data = (
        max(map(len, column)) for column in zip(*((each.name, each.data or "") for each in found), strict=True)
    )
    for each in found:
        mark = "*" if each.name == in_use else " "
        runs = f"{each.runs:>3} runs" if each.runs else ""
        title = printable(each.title, 200)
        typer.echo(f"{mark} {each.name:<{names}}  {each.data or '':<{data}}  {runs:>8}  {title}")


def show_changes(changes: Sequence[Change], shown: Sequence[Change]) -> None:
    """Print one line for each of the changes to be shown, and how many others there are."""
    for change in shown:
        typer.echo(f"  {change.key}: {brief(change.old)} -> {brief(change.new)}")
    others = [change for change in changes if change not in shown]
    if others:
        of_runs = sum(change.key.startswith("runs.") for change in others)
        typer.echo(f"  and {len(others)} more keys, {of_runs} of them in runs; --dry-run --all lists them")


def setting(text: str) -> tuple[str, str]:
    """Key and value of KEY=VALUE; raises UserError if the text is not that."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UserError(f"--set {text}: KEY=VALUE is needed, for example data.source=../mnist")
    return key, value


def brief(value: str | None) -> str:
    """A value as text, shortened if it is long; a dash if there is none."""
    if value is None:
        return "-"
    return value if len(value) <= 60 else value[:57] + "..."
