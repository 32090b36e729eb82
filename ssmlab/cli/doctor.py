"""`ssmlab doctor`: finds problems of the machine and the folder, and says how to fix them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ssmlab.cli.records import FormatOption, JsonOption, ListFormat, records_text

COLUMNS = ("name", "verdict", "found", "fix")
COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Repair damaged files of DVC: dvc.lock, .dvc/tmp/rwlock.")] = False,
    format: FormatOption = ListFormat.table,
    as_json: JsonOption = False,
) -> None:
    """Check Python, packages, devices, threads, disk, DVC, git and the study; exit code 1 if something is wrong."""
    from ssmlab.project.doctor import examine

    findings = examine(Path(), repair=fix)
    form = ListFormat.json if as_json else format
    if form is not ListFormat.table:
        typer.echo(records_text("doctor", COLUMNS, [asdict(finding) for finding in findings], form), nl=False)
    else:
        for finding in findings:
            verdict = typer.style(f"{finding.verdict:<8}", fg=COLOURS[finding.verdict])
            typer.echo(f"{verdict} {finding.name:<13} {finding.found}")
            if finding.fix:
                typer.echo(f"{'':<22} -> {finding.fix}")
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)
