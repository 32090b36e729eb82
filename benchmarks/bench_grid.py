"""How much faster `ssmlab grid` is with several jobs: the same runs, one at a time and N at a time.

Usage: python benchmarks/bench_grid.py [--study regimes] [--runs 9] [--jobs 2] [--set train.epochs=1]

The cheapest runs of the study are used (images x epochs x gradient steps x parameters). The data are prepared once in a
temporary copy of the project. Then all runs are trained and attacked with one job and with N jobs, each time from the
start. The output is seconds, the speed-up, and the machine's load before each: on a busy machine the speed-up means
little.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ssmlab.params import RunParams
from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.params_file import load_params

PROJECT = Path(__file__).resolve().parents[1]


def cost(run: RunParams) -> float:
    """What a training of the run costs, in an arbitrary unit."""
    steps = 1 + (run.train.adversary.steps if run.train.adversarial else 0)
    return run.train.epochs * steps * run.model.d_model * run.model.layers * (3 if run.model.mixer == "mega" else 1)


def scratch_project(folder: Path, study: str, settings: dict[str, str]) -> None:
    """A copy of what a study needs, with params.yaml as `ssmlab use` writes it."""
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(PROJECT / name, folder / name)
    for name in ("ssmlab", "studies"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".dvc").mkdir()
    shutil.copy(PROJECT / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / "params.yaml").write_bytes(expanded_params_yaml(PROJECT / "studies" / f"{study}.yaml", settings))


def timed_grid(folder: Path, runs: list[str], jobs: int) -> float:
    """Seconds of `ssmlab grid` on these runs, from nothing but the prepared data."""
    for name in ("models", "results", "runs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", "ssmlab", "grid", *runs, "--jobs", str(jobs), "--force"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", default="regimes")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scratch_project(folder, asked.study, dict(text.split("=", 1) for text in asked.set))
        params = load_params(folder / "params.yaml")
        runs = sorted(params.runs, key=lambda run: cost(params.runs[run]))[: asked.runs]
        subprocess.run(
            [sys.executable, "-m", "ssmlab", "repro", "prepare"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            check=True,
        )
        print(f"{len(runs)} runs of {asked.study}: {' '.join(runs)}")
        seconds = {}
        for jobs in (1, asked.jobs):
            load = os.getloadavg()[0]
            seconds[jobs] = timed_grid(folder, runs, jobs)
            print(f"--jobs {jobs}: {seconds[jobs]:.0f} s (load before: {load:.1f} on {os.cpu_count()} processors)")
        print(f"gain: {seconds[1] / seconds[asked.jobs]:.2f}")


if __name__ == "__main__":
    main()
