"""`ssmlab run-stages`, which the jobs of a grid call: stages of one run in one process."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from ssmlab.cli.options import RunName
from ssmlab.cli.stages import attack, probe, train


class StageChoice(StrEnum):
    """A stage that every run has."""

    train = "train"
    attack = "attack"
    probe = "probe"


def run_stages(
    run: RunName,
    names: Annotated[list[StageChoice], typer.Argument(metavar="STAGE...", help="train, attack, probe.")],
) -> None:
    """Run stages of one run, one after the other. One import of torch for all stages saves 2 CPU seconds per stage."""
    commands = {StageChoice.train: train, StageChoice.attack: attack, StageChoice.probe: probe}
    for name in names:
        sys.argv[1:] = [name.value, run]  # the outputs of a stage name the command that repeats the stage
        commands[name](run)
