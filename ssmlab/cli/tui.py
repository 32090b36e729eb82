"""`ssmlab tui`: the terminal app."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer


def tui(
    path: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="The folder of the project, which holds params.yaml.")
    ] = Path(),
) -> None:
    """Follow and launch the study's runs, live, in the terminal."""
    gc.disable()  # until all runs have been read: see ssmlab.tui.collector
    from ssmlab.cli.interrupts import interruptible
    from ssmlab.tui.app import run as run_app

    with interruptible():  # a SIGTERM or SIGHUP restores the terminal, as Ctrl-C does
        run_app(path)
