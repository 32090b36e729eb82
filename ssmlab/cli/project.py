"""`ssmlab new` and `ssmlab schema`: a project of one's own, and help for the editor in which its params are written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that does not exist yet, or is empty.")],
    study: Annotated[str, typer.Option("--study", metavar="NAME", help="The study to begin with.")] = "mnist5k",
) -> None:
    """Make a project of your own: params.yaml, dvc.yaml, studies/ and DVC's folder; everything works there."""
    from ssmlab.project.new_project import new_project

    new_project(folder, study)
    typer.echo(f"{folder} has the study {study}; go there and run it with `ssmlab repro`, or see `ssmlab use`")


def schema() -> None:
    """Write the JSON schema of params.yaml, with which editors check and complete it."""
    from ssmlab.project.schema import schema_text

    typer.echo(schema_text(), nl=False)
