"""Arguments and options that several commands share, and those of the commands that have many."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ssmlab.cli import completion


class NormChoice(StrEnum):
    """How the distance of an attacked image is measured."""

    linf = "linf"
    l2 = "l2"


class DeviceChoice(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class ClusterChoice(StrEnum):
    """Where the jobs of a grid run."""

    local = "local"
    slurm = "slurm"


# Shared by several commands

RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run of params.yaml, for example `ads-s0`.", autocompletion=completion.run_names
    ),
]
RunAndGroupNames = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN|GROUP]...",
        help="Runs or groups of seeds; all by default.",
        autocompletion=completion.run_and_group_names,
    ),
]
AllowInstalled = Annotated[
    bool,
    typer.Option("--allow-installed", help="Run the installed ssmlab although this folder has its own copy."),
]
DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option("--device", help="Overrides `device` of params.yaml; auto takes CUDA where there is a GPU."),
]
IntervalOption = Annotated[
    float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="The time between two reads of the files.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Run the stages even if nothing has changed.")]

# For `attack`

RunOrFile = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run of params.yaml, or the file of a checkpoint.",
        autocompletion=completion.run_names,
    ),
]
EpsOption = Annotated[
    str | None,
    typer.Option("--eps", metavar="EPS", help="Attack a checkpoint file at this eps and print the accuracies."),
]
AttacksOption = Annotated[
    str | None,
    typer.Option("--attacks", metavar="A,B", help="With --eps: fgsm, pgd-N, autoattack, ...; pgd-10 by default."),
]
NormOption = Annotated[
    NormChoice | None, typer.Option("--norm", help="With --eps: the norm that eps is in; linf by default.")
]
ImagesOption = Annotated[
    int | None, typer.Option("--images", min=1, metavar="N", help="With --eps: only the first N test images.")
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="With --eps: a prepared data set; the study's by default."),
]
SaveOption = Annotated[
    Path | None,
    typer.Option(
        "--save-adversarials", metavar="FOLDER", help="For a run, or with --eps: save the attacked images there."
    ),
]
RecheckOption = Annotated[
    Path | None,
    typer.Option("--recheck", metavar="FOLDER", help="Test a run or a file again on the images saved there."),
]

# For `grid`

JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        metavar="N",
        help="How many run at once; by default one for each core, or as many as the GPUs allow.",
    ),
]
GpusOption = Annotated[int, typer.Option("--gpus-per-run", min=0, metavar="G", help="GPUs of each run.")]
ClusterOption = Annotated[ClusterChoice, typer.Option("--cluster", help="This machine, or a SLURM cluster.")]
MinutesOption = Annotated[
    int,
    typer.Option("--minutes", min=1, help="Time limit of a SLURM job; a longer training continues in the next job."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would run, and run nothing.")]
