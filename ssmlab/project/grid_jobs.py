"""The jobs of a grid: a limited number at a time with a share of the machine each, or an array of a SLURM cluster."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from submitit import AutoExecutor, Job

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, Progress
from ssmlab.core.progress import ProgressMeter
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_command import environment
from ssmlab.project.grid_job import RunStages
from ssmlab.project.grid_plan import GridPlan
from ssmlab.system.cores import cores
from ssmlab.system.gpus import visible_gpus

Cluster = Literal["local", "slurm"]
LOOK_EVERY = 0.5  # seconds
YEAR = 365 * 24 * 60  # minutes: submitit requires a limit, although this machine has none
LAST_WORDS = 20.0  # seconds that stages have to record how they ended
GRID_MARK = "SSMLAB_GRID"  # a stage that finds it set ends when its parent job has ended


@dataclass(frozen=True)
class Resources:
    """What the jobs of a grid may use.

    Attributes:
        jobs: how many run at the same time.
        gpus_per_run: 0 on a CPU. On one machine each job has GPUs of its own.
        cluster: `local` is this machine, `slurm` an array of jobs with a limit on how many run at once.
        minutes: the time limit of a SLURM job. Shortly before it the training stops, and the job is queued again and
            continues after the last complete epoch.
    """

    jobs: int
    gpus_per_run: int = 0
    cluster: Cluster = "local"
    minutes: int = 24 * 60


def run_jobs(paths: Paths, plan: GridPlan, resources: Resources, on_event: Listener) -> dict[str, str]:
    """Run the jobs, at most `resources.jobs` at the same time; returns the reason for each failed job."""
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
        on_event(Note(f"the output of the failed jobs is in {jobs.folder}"))
    else:
        shutil.rmtree(jobs.folder, ignore_errors=True)  # every run has its own log in runs/
    return failed


class Jobs:
    """The running jobs of one grid, and the processors and GPUs that each may use."""

    def __init__(self, paths: Paths, resources: Resources) -> None:
        """Prepare the executor; no job is started yet."""
        self.folder = paths.root / "runs" / paths.study / "grid" / time.strftime("%Y%m%d-%H%M%S")
        self.work = RunStages(paths.root.resolve())
        self.cluster = resources.cluster
        self.running: dict[str, Job[str]] = {}
        self.free = slots(resources) if resources.cluster == "local" else []
        self.held: dict[str, Slot] = {}
        logging.getLogger("submitit").setLevel(logging.ERROR)  # its warnings would break the progress bar
        self.executor = AutoExecutor(self.folder, cluster=resources.cluster)
        minutes = resources.minutes if resources.cluster == "slurm" else YEAR
        self.executor.update_parameters(timeout_min=minutes, cpus_per_task=1, gpus_per_node=resources.gpus_per_run)
        if resources.cluster == "slurm":
            self.executor.update_parameters(slurm_array_parallelism=resources.jobs)
        self.environment = {**environment(paths.root), "PYTHONPATH": import_path(paths.root), GRID_MARK: "1"}

    def submit(self, run: str, stages: Sequence[str]) -> None:
        """Start the job of `run` on a free slot."""
        slot = self.held[run] = self.free.pop(0)
        with environment_set_to(self.environment):
            self.running[run] = self.executor.submit(self.work, run, stages, slot.processors, slot.gpus)

    def submit_array(self, stages: Mapping[str, Sequence[str]]) -> None:
        """Give all runs to the cluster at once; it limits how many run at a time."""
        with environment_set_to(self.environment):
            jobs = self.executor.map_array(self.work, list(stages), list(stages.values()))
        self.running = dict(zip(stages, jobs, strict=True))

    def finished(self) -> Iterator[tuple[str, str]]:
        """Every job that has ended since the last call: its run, and in one line why it failed; empty if it did not."""
        for run in [run for run, job in self.running.items() if job.done()]:
            job = self.running.pop(run)
            if run in self.held:
                self.free.append(self.held.pop(run))
            try:
                yield run, job.result()
            except Exception as error:  # submitit's own kinds: a job that was killed, or left no result
                yield run, f"the job ended without a result: {' '.join(str(error).split())[:200]}"

    def cancel(self) -> None:
        """End every running job; each training keeps the state of its last complete epoch."""
        if self.cluster == "slurm":
            for job in self.running.values():
                job.cancel()
            return
        # submitit's own cancel sends SIGINT, and then the parent of the job prints a traceback to our terminal.
        processes = psutil.Process().children(recursive=True)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=LAST_WORDS)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def environment_set_to(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside this block our environment has exactly these variables: a job of submitit gets the one at its start."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Slot:
    """The processors and GPUs of one of the jobs that run at the same time on this machine."""

    processors: tuple[int, ...]
    gpus: tuple[str, ...]


def slots(resources: Resources) -> list[Slot]:
    """This machine's processors and GPUs, divided among `resources.jobs` jobs; raises UserError for too few GPUs."""
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares = [tuple(own[job :: resources.jobs]) for job in range(resources.jobs)]
    each = resources.gpus_per_run
    gpus = visible_gpus() if each else []
    if len(gpus) < resources.jobs * each:
        raise UserError(
            f"{resources.jobs} jobs at a time with {each} GPU(s) each, but there are {len(gpus)}; lower --jobs or "
            "--gpus-per-run"
        )
    return [Slot(share, tuple(gpus[job * each : (job + 1) * each])) for job, share in enumerate(shares)]


def most_jobs(gpus_per_run: int) -> int:
    """How many jobs run at the same time on this machine by default: one for each core, if there are GPUs for all."""
    return max(1, min(cores(), len(visible_gpus()) // gpus_per_run)) if gpus_per_run else cores()


def import_path(root: Path) -> str:
    """The PYTHONPATH with which a job imports the package of the folder, if there is one, as stages of DVC do."""
    before = os.environ.get("PYTHONPATH", "")
    own = str(root.resolve()) if (root / "ssmlab").is_dir() else ""
    return os.pathsep.join(part for part in (own, before) if part)
