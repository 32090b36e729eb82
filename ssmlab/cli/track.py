"""`ssmlab track`: learning curves in TensorBoard or W&B, sent by a process of its own."""

from __future__ import annotations

import time
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ssmlab.cli.base import study
from ssmlab.cli.options import IntervalOption, RunAndGroupNames


class SinkChoice(StrEnum):
    """Where the numbers go."""

    tensorboard = "tensorboard"
    wandb = "wandb"


def track(
    to: Annotated[SinkChoice, typer.Option("--to", help="The tracker, which is an optional package.")],
    folder: Annotated[
        Path, typer.Option("--folder", metavar="FOLDER", help="Where its files go; use the same folder in later calls.")
    ],
    names: RunAndGroupNames = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep running and send every new epoch, until Ctrl-C.")
    ] = False,
    interval: IntervalOption = 2.0,
) -> None:
    """Send every epoch of finished and running trainings to TensorBoard or W&B, once."""
    from ssmlab.cli.interrupts import interruptible
    from ssmlab.project.grid_plan import selected_runs
    from ssmlab.project.sinks import open_sink
    from ssmlab.project.tracking import Tracker

    params, paths = study()
    runs = selected_runs(params, names or [])
    with interruptible(), closing(open_sink(to.value, folder / paths.study, paths.study)) as sink:
        tracker = Tracker(runs, params, paths, sink, folder / f"{paths.study}.{to.value}.json")
        typer.echo(f"{tracker.poll()} epochs sent to {folder / paths.study}")
        while follow:
            time.sleep(interval)
            if sent := tracker.poll():
                typer.echo(f"{sent} more")
