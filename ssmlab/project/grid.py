"""Many runs at the same time, on this machine or on a SLURM cluster; DVC then registers their results.

DVC runs stages one after the other and locks its folder during this time. So jobs of submitit train and attack the runs
with `python -m ssmlab`, without DVC, and DVC registers the results afterwards. Only current results are registered. The
job of the run must have succeeded, its checkpoints must have the fingerprints of the current params and data, and
neither params.yaml nor the code may have changed since the start.
"""

from __future__ import annotations

from pathlib import Path

from ssmlab.artifacts.metadata import read_metadata
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import sha256_file
from ssmlab.core.stage_code import code_fingerprint
from ssmlab.data.header import prepared_fingerprint
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_command import dvc
from ssmlab.project.grid_jobs import Resources, run_jobs
from ssmlab.project.grid_plan import GridPlan
from ssmlab.project.inputs import package_of
from ssmlab.project.launched import refuse_beside_another_launch
from ssmlab.project.pipeline import RUN_STAGES
from ssmlab.project.register import register


def run_grid(
    params: Params, paths: Paths, plan: GridPlan, resources: Resources, on_event: Listener = silence
) -> tuple[list[str], dict[str, str]]:
    """Carry out `plan`, then register what succeeded with DVC.

    Returns:
        the runs that are registered, and for every other run the reason in one line.

    Raises:
        UserError: a launch of the study is running, or the data cannot be prepared. Finished runs keep their results.
    """
    refuse_beside_another_launch(paths)
    if plan.prepare:
        on_event(Note("preparing the data"))
        dvc(paths.root, "repro", "prepare")
    before = fingerprint_of_folder(paths.root)
    failed = run_jobs(paths, plan, resources, on_event)
    done = [run for run in plan.stages if run not in failed]
    if fingerprint_of_folder(paths.root) != before:
        reason = "params.yaml or the code changed while it ran; it is not registered: run `ssmlab grid` again"
        return [], {**dict.fromkeys(done, reason), **failed}
    failed |= {run: reason for run in done if (reason := foreign_reason(params, paths, run))}
    done = [run for run in done if run not in failed]
    if done:
        on_event(Note(f"registering {len(done)} of {len(plan.stages)} runs with DVC"))
        register(paths.root, [f"{stage}@{run}" for run in done for stage in RUN_STAGES], on_event)
    return done, failed


def foreign_reason(params: Params, paths: Paths, run: str) -> str:
    """Why the checkpoints of `run` do not belong to the current params and data; empty if they do."""
    prepared = prepared_fingerprint(paths.prepared)
    for which in ("best", "last"):
        metadata = read_metadata(paths.checkpoint(run, which))
        if metadata.params_fingerprint != params.run(run).fingerprint():
            return f"its {which} checkpoint was trained with other params; run `ssmlab grid {run}` again"
        if metadata.data_fingerprint != prepared:
            return f"its {which} checkpoint was trained on other data; run `ssmlab grid {run}` again"
    return ""


def fingerprint_of_folder(root: Path) -> tuple[str, ...]:
    """Hashes of inputs that the user may edit while the grid runs: params.yaml and the code."""
    package = package_of(root)
    return sha256_file(root / "params.yaml"), *(code_fingerprint(stage, package) for stage in RUN_STAGES)
