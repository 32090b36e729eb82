"""`ssmlab export`: a trained model as a folder for a model hub."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import study


class CheckpointChoice(StrEnum):
    """Which of a run's checkpoints."""

    best = "best"
    last = "last"


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run of the study.", autocompletion=completion.run_names)],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="A new or empty folder.")],
    checkpoint: Annotated[
        CheckpointChoice, typer.Option("--checkpoint", help="Which checkpoint.")
    ] = CheckpointChoice.best,
    license: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="The licence you give the weights, e.g. apache-2.0.")
    ] = None,
) -> None:
    """Write a run's weights (safetensors), model card and RobustBench's fields to a folder."""
    from ssmlab.report.hub_folder import export_run

    params, paths = study()
    params.run(run)
    for file in export_run(run, paths, to, checkpoint.value, license):
        typer.echo(f"wrote {file}")
