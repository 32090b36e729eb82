"""`ssmlab grid --cluster slurm` on a real SLURM of one node: `make test-slurm` sets it up and runs this."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssmlab.project.history_reader import HistoryReader

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("one_node.sh")
MISSING = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name, path="/usr/sbin") is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(MISSING) or os.geteuid() != 0, reason="needs root and slurm-wlm and munge"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which SLURM's commands use a cluster on this machine."""
    folder = tmp_path_factory.mktemp("slurm", numbered=True)
    for above in (folder, *folder.parents):  # munged refuses a folder that others could have tampered with
        above.chmod(above.stat().st_mode & ~0o022 | 0o011) if above.stat().st_uid == os.geteuid() else None
    started = subprocess.run([SCRIPT, "start", folder], text=True, capture_output=True, check=False)
    assert started.returncode == 0, started.stderr
    try:
        yield {**os.environ, "SLURM_CONF": started.stdout.strip(), "OMP_NUM_THREADS": "1"}
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=False)


@pytest.fixture
def root(tmp_path: Path, copy_project: Callable[[Path], None]) -> Path:
    """A project with two small runs."""
    copy_project(tmp_path)
    text = (PROJECT / "studies" / "smoke.yaml").read_text().replace("train: all", "train: 200")
    (tmp_path / "params.yaml").write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def ssmlab(root: Path, cluster: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ssmlab", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=root, env=cluster, text=True, stdout=pipe, stderr=subprocess.STDOUT)


def out_of_date(root: Path) -> str:
    command = [sys.executable, "-m", "dvc", "status", "train@ssm", "attack@ssm", "train@ads", "attack@ads"]
    return subprocess.run(command, cwd=root, text=True, capture_output=True, check=True).stdout


def test_a_cluster_runs_the_jobs_and_dvc_finds_nothing_left_to_do(root: Path, cluster: dict[str, str]) -> None:
    grid = ssmlab(root, cluster, "grid", "ssm", "ads", "--cluster", "slurm", "--jobs", "2", "--minutes", "10")
    said, _ = grid.communicate(timeout=300)
    assert grid.returncode == 0, said
    assert "2 runs are registered" in said
    assert "up to date" in out_of_date(root)


def test_a_training_that_the_time_limit_ends_is_queued_again_and_continues(root: Path, cluster: dict[str, str]) -> None:
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 2", "epochs: 30"))
    grid = ssmlab(root, cluster, "grid", "ssm", "--cluster", "slurm", "--jobs", "1", "--minutes", "10")
    history = root / "runs" / "smoke" / "ssm" / "history.csv"
    wait_until(lambda: history.is_file() and len(HistoryReader(history).poll()) >= 3)
    jobs = subprocess.run(
        ["squeue", "--noheader", "--format=%A"], env=cluster, text=True, capture_output=True, check=True
    )
    (job,) = set(jobs.stdout.split())
    subprocess.run(["scancel", "--signal=USR2", job], env=cluster, check=True)  # what SLURM sends before the limit
    wait_until(lambda: requeued(cluster, job))
    time.sleep(10)  # a job that starts again in the same second finds its credential revoked
    # SLURM itself would wait for two minutes.
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=cluster, check=False)
    said, _ = grid.communicate(timeout=600)
    assert grid.returncode == 0, said
    rows = HistoryReader(root / "models" / "smoke" / "ssm" / "history.csv").poll()
    assert [row.epoch for row in rows] == list(range(1, 31))
    log = (root / "runs" / "smoke" / "ssm" / "log.txt").read_text()
    assert "continuing after epoch" in log
    assert "train@ssm" not in out_of_date(root)


def requeued(cluster: dict[str, str], job: str) -> bool:
    shown = subprocess.run(["scontrol", "show", "job", job], env=cluster, text=True, capture_output=True, check=False)
    return "Restarts=1" in shown.stdout


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
