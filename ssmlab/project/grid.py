"""Many runs side by side, on this machine or on a SLURM cluster, and what they made registered with DVC.

DVC runs stages one after the other and locks its folder while it does. So the runs are trained and attacked by
`python -m ssmlab` without DVC, as submitit's jobs, and one `dvc commit` says afterwards that their outputs are current.
Nothing foreign is registered: a run is committed only if its job succeeded, its checkpoints carry the fingerprints of
the params and the data of now, and neither params.yaml nor the code changed in the meantime.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from submitit import AutoExecutor, Job

from ssmlab.artifacts.metadata import read_metadata
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, Progress, silence
from ssmlab.core.files import sha256_file
from ssmlab.core.progress import ProgressMeter
from ssmlab.core.stage_code import PACKAGE, StageName, code_fingerprint
from ssmlab.data.header import read_data_summary
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.grid_job import RunStages
from ssmlab.project.launch import active, environment, launch_text

Cluster = Literal["local", "slurm"]
STAGES: tuple[StageName, ...] = (
    "train",
    "attack",
)  # what a job runs of its run; the other stages are about the whole study
LOOK_EVERY = 0.5  # seconds
YEAR = 365 * 24 * 60  # minutes: submitit wants a limit, and on this machine there is none
LAST_WORDS = 20.0  # seconds that stages have to write down how they ended
GRID_MARK = "SSMLAB_GRID"  # a stage that finds it set ends when the job above it has gone


@dataclass(frozen=True)
class Resources:
    """What the jobs of a grid may use.

    Attributes:
        jobs: how many run at the same time.
        gpus_per_run: 0 on a CPU. On one machine the jobs take the GPUs in turn.
        cluster: `local` is this machine, `slurm` an array of jobs with a limit on how many run at once.
        minutes: the time limit of a SLURM job. Shortly before it the training stops, and the job is queued again and
            goes on from the last whole epoch.
    """

    jobs: int
    gpus_per_run: int = 0
    cluster: Cluster = "local"
    minutes: int = 24 * 60


@dataclass(frozen=True)
class GridPlan:
    """What is out of date.

    Attributes:
        prepare: whether the prepared data set is, which everything else waits for.
        stages: for each run with something to do, its stages in order.
    """

    prepare: bool
    stages: Mapping[str, tuple[str, ...]]


def selected_runs(params: Params, names: Sequence[str]) -> list[str]:
    """The runs that `names` mean, groups written out, in the order of params.yaml; all runs if there are no names.

    Raises:
        UserError: a name is neither a run nor a group.
    """
    wanted: set[str] = set()
    for name in names:
        if name in params.runs:
            wanted.add(name)
        elif name in params.groups:
            wanted.update(params.groups[name])
        else:
            params.run(name)  # raises, with the names that there are
    return [run for run in params.runs if not names or run in wanted]


def plan_grid(paths: Paths, runs: Sequence[str], force: bool = False) -> GridPlan:
    """What of `runs` DVC calls out of date, or all of it with `force`."""
    status = dvc_status(paths.root)
    stages = {}
    for run in runs:
        changed = [stage for stage in STAGES if force or f"{stage}@{run}" in status]
        if "train" in changed or "prepare" in status:
            changed = list(STAGES)  # the attack's inputs will change, which DVC cannot know yet
        if changed:
            stages[run] = tuple(changed)
    return GridPlan("prepare" in status, stages)


def run_grid(
    params: Params, paths: Paths, plan: GridPlan, resources: Resources, on_event: Listener = silence
) -> tuple[list[str], dict[str, str]]:
    """Carry out `plan`, then register what succeeded with DVC.

    Returns:
        the runs that are registered, and for every other run the reason in one line.

    Raises:
        UserError: a launch of the study is under way, or the data cannot be prepared. What is done stays.
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
        dvc(paths.root, "commit", "--force", *(f"{stage}@{run}" for run in done for stage in STAGES))
    return done, failed


def run_jobs(paths: Paths, plan: GridPlan, resources: Resources, on_event: Listener) -> dict[str, str]:
    """Run the jobs, at most `resources.jobs` at the same time; returns why each failed one failed."""
    jobs = Jobs(paths, resources)
    waiting, failed, total = list(plan.stages), dict[str, str](), len(plan.stages)
    meter = ProgressMeter(total)
    try:
        if resources.cluster == "slurm":
            jobs.submit_array(plan.stages)
            waiting.clear()
        while waiting or jobs.running:
            while waiting and jobs.free:
                run = waiting.pop(0)
                jobs.submit(run, plan.stages[run])
                on_event(Note(f"{run}: started"))
            for run, reason in jobs.finished():
                if reason:
                    failed[run] = reason
                on_event(Note(f"{run}: {reason or 'done'}", warning=bool(reason)))
                meter.advance()
            on_event(Progress(f"grid: {len(jobs.running)} running", int(meter.done), total, eta=meter.eta))
            time.sleep(LOOK_EVERY)
    except BaseException:
        jobs.cancel()
        raise
    if failed:
        on_event(Note(f"what the failed jobs wrote is in {jobs.folder}"))
    else:
        shutil.rmtree(jobs.folder, ignore_errors=True)  # every run has a log of its own in runs/
    return failed


class Jobs:
    """The jobs of one grid that are under way, and the processors and GPUs that each may use."""

    def __init__(self, paths: Paths, resources: Resources) -> None:
        """Nothing is started yet."""
        self.folder = paths.root / "runs" / paths.study / "grid" / time.strftime("%Y%m%d-%H%M%S")
        self.work = RunStages(paths.root.resolve())
        self.cluster = resources.cluster
        self.running: dict[str, Job[str]] = {}
        self.free = slots(resources)
        self.held: dict[str, Slot] = {}
        logging.getLogger("submitit").setLevel(logging.ERROR)  # its warnings would fall into the progress bar
        self.executor = AutoExecutor(self.folder, cluster=resources.cluster)
        minutes = resources.minutes if resources.cluster == "slurm" else YEAR
        self.executor.update_parameters(timeout_min=minutes, cpus_per_task=1, gpus_per_node=resources.gpus_per_run)
        if resources.cluster == "slurm":
            self.executor.update_parameters(slurm_array_parallelism=resources.jobs)
        os.environ.update(environment(paths.root) | {"PYTHONPATH": import_path(paths.root), GRID_MARK: "1"})

    def submit(self, run: str, stages: Sequence[str]) -> None:
        """Start the job of `run` on a free slot."""
        slot = self.held[run] = self.free.pop(0)
        self.running[run] = self.executor.submit(self.work, run, stages, slot.processors, slot.gpus)

    def submit_array(self, stages: Mapping[str, Sequence[str]]) -> None:
        """Hand all runs to the cluster at once, which starts as many at a time as it may."""
        jobs = self.executor.map_array(self.work, list(stages), list(stages.values()))
        self.running = dict(zip(stages, jobs, strict=True))

    def finished(self) -> Iterator[tuple[str, str]]:
        """Every job that has ended since the last call: its run, and why it failed in one line, or nothing."""
        for run in [run for run, job in self.running.items() if job.done()]:
            job = self.running.pop(run)
            if run in self.held:
                self.free.append(self.held.pop(run))
            try:
                yield run, job.result()
            except Exception as error:  # submitit's own kinds: a job that was killed, or left no result
                yield run, f"the job ended without a result: {' '.join(str(error).split())[:200]}"

    def cancel(self) -> None:
        """End every job that runs; each training keeps the state of its last whole epoch."""
        if self.cluster == "slurm":
            for job in self.running.values():
                job.cancel()
            return
        # Not submitit's own cancel: its SIGINT makes the process above the job print a traceback to our terminal.
        processes = psutil.Process().children(recursive=True)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=LAST_WORDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@dataclass(frozen=True)
class Slot:
    """What one of the jobs that run at the same time on this machine may use."""

    processors: tuple[int, ...]
    gpus: tuple[int, ...]


def slots(resources: Resources) -> list[Slot]:
    """This machine's processors and GPUs, shared out to `resources.jobs` jobs as evenly as can be."""
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares = [tuple(own[job :: resources.jobs]) for job in range(resources.jobs)]
    each = resources.gpus_per_run
    return [Slot(share, tuple(range(job * each, (job + 1) * each))) for job, share in enumerate(shares)]


def refuse_beside_another_launch(paths: Paths) -> None:
    """Raise UserError if the pipeline of this study already runs: both would train the same runs."""
    launched = active(paths)
    if launched is not None:
        raise UserError(
            f"{launch_text(launched)} is already running (process {launched.pid}); stop it or let it finish"
        )


def foreign_reason(params: Params, paths: Paths, run: str) -> str:
    """Why the checkpoints of `run` are not those of the present params and data; nothing if they are."""
    for which in ("best", "last"):
        metadata = read_metadata(paths.checkpoint(run, which))
        if metadata.params_fingerprint != params.run(run).fingerprint():
            return f"its {which} checkpoint is of other params; run `ssmlab grid {run}` again"
        if metadata.data_fingerprint != read_data_summary(paths.prepared).description.fingerprint:
            return f"its {which} checkpoint is of other data; run `ssmlab grid {run}` again"
    return ""


def fingerprint_of_folder(root: Path) -> tuple[str, ...]:
    """What the results depend on and a user may edit while the grid runs: params.yaml and the code of the stages."""
    own = root / "ssmlab"
    package = own if own.is_dir() else PACKAGE
    return sha256_file(root / "params.yaml"), *(code_fingerprint(stage, package) for stage in STAGES)


def import_path(root: Path) -> str:
    """The value of PYTHONPATH under which a job imports the package of the folder, if it has one, as a stage does."""
    before = os.environ.get("PYTHONPATH", "")
    own = str(root.resolve()) if (root / "ssmlab").is_dir() else ""
    return os.pathsep.join(part for part in (own, before) if part)


def dvc_status(root: Path) -> set[str]:
    """The stages that DVC calls out of date."""
    done = dvc(root, "status", "--json")
    try:
        return set(json.loads(done))
    except ValueError:
        raise UserError(f"dvc status gave no list of stages: {' '.join(done.split())[:200]}") from None


def dvc(root: Path, *arguments: str) -> str:
    """What a DVC command writes; raises UserError with DVC's own last line if it fails."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(root), text=True, capture_output=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise UserError(f"dvc {arguments[0]}: {lines[-1].removeprefix('ERROR: ') if lines else done.returncode}")
    return done.stdout
