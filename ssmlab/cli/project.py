"""`ssmlab new` and `ssmlab schema`: create a project; print the schema with which editors check params.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    study: Annotated[str, typer.Option("--study", metavar="NAME", help="The study to start with.")] = "mnist5k",
) -> None:
    """Make a new project: params.yaml, dvc.yaml, studies/ and DVC's folder; every command works there."""
    from ssmlab.project.new_project import new_project

    new_project(folder, study)
    typer.echo(f"{folder} has the study {study}; go there and run it with `ssmlab repro`, or see `ssmlab use`")


def schema() -> None:
    """Print the JSON schema of params.yaml, with which editors check and complete it."""
    from ssmlab.project.schema import schema_text

    typer.echo(schema_text(), nl=False)
