"""`ssmlab grid`: many runs at once."""

from __future__ import annotations

import typer

from ssmlab.cli.base import fail, stage, study
from ssmlab.cli.options import (
    ClusterChoice,
    ClusterOption,
    DryRunOption,
    ForceOption,
    GpusOption,
    JobsOption,
    MinutesOption,
    RunAndGroupNames,
)
from ssmlab.cli.progress import tell


def grid(
    names: RunAndGroupNames = None,
    jobs: JobsOption = None,
    gpus_per_run: GpusOption = 0,
    cluster: ClusterOption = ClusterChoice.local,
    minutes: MinutesOption = 24 * 60,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train and attack many runs at once, then register the results with DVC."""
    from ssmlab.project.grid import run_grid
    from ssmlab.project.grid_jobs import Resources, most_jobs
    from ssmlab.project.grid_plan import plan_grid, selected_runs

    params, paths = study()
    plan = plan_grid(paths, selected_runs(params, names or []), force, tell)
    if not plan.stages:
        typer.echo("nothing to do: every run that was named is up to date")
        return
    here = gpus_per_run if cluster is ClusterChoice.local else 0  # the GPUs of a cluster cannot be counted here
    resources = Resources(jobs or most_jobs(here), gpus_per_run, cluster.value, minutes)
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
