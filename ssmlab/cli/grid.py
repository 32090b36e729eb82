"""`ssmlab grid`: many runs at once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import fail, stage, study


class ClusterChoice(StrEnum):
    """Where the jobs of a grid run."""

    local = "local"
    slurm = "slurm"


def grid(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|GROUP]...",
            help="Runs or groups of seeds; all by default.",
            autocompletion=completion.run_and_group_names,
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="How many run at once; one a processor by default.")
    ] = None,
    gpus_per_run: Annotated[int, typer.Option("--gpus-per-run", min=0, metavar="G", help="GPUs of each run.")] = 0,
    cluster: Annotated[
        ClusterChoice, typer.Option("--cluster", help="This machine, or a SLURM cluster.")
    ] = ClusterChoice.local,
    minutes: Annotated[
        int, typer.Option("--minutes", min=1, help="Time limit of a SLURM job; a training goes on in the next job.")
    ] = 24 * 60,
    force: Annotated[bool, typer.Option("--force", help="Run them even if nothing has changed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
) -> None:
    """Train and attack many runs at once, then register the results with DVC."""
    from ssmlab.project.grid import run_grid
    from ssmlab.project.grid_jobs import Resources
    from ssmlab.project.grid_plan import plan_grid, selected_runs
    from ssmlab.system.cores import cores

    params, paths = study()
    plan = plan_grid(paths, selected_runs(params, names or []), force)
    if not plan.stages:
        typer.echo("nothing to do: every run that was named is up to date")
        return
    resources = Resources(jobs or cores(), gpus_per_run, cluster.value, minutes)
    for run, stages in plan.stages.items():
        typer.echo(f"  {run}: {' and '.join(stages)}")
    typer.echo(f"{len(plan.stages)} of {len(params.runs)} runs are out of date, {resources.jobs} at a time")
    if dry_run:
        typer.echo("nothing was run (--dry-run)")
        return
    with stage() as on_event:
        done, failed = run_grid(params, paths, plan, resources, on_event)
    typer.echo(f"{len(done)} runs are registered with DVC; `ssmlab repro` does the rest (analysis and report)")
    if failed:
        fail("; ".join(f"{run}: {reason}" for run, reason in failed.items()), 1)
