"""Real processes of the smoke study under DVC: signals leave no orphan, and a stopped or killed training continues."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssmlab.artifacts.heartbeat import Heartbeat, read_heartbeat, state_of
from ssmlab.artifacts.history import read_history
from ssmlab.project.history_reader import HistoryReader
from ssmlab.system.processes import is_alive

PROJECT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
SSMLAB = (sys.executable, "-m", "ssmlab")  # the copy in the folder where it runs
LIVE, MODEL = Path("runs/smoke/ads"), Path("models/smoke/ads")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("stopping")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, copy_project: Callable[[Path], None]) -> Path:
    """A folder with the smoke study, prepared data, and more epochs than a test waits for."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    write_study(folder, epochs=500)
    assert start(folder, "dvc", "repro", "prepare").wait() == 0
    return folder


@pytest.fixture
def folder(project: Path) -> Iterator[Path]:
    """The study with nothing trained."""
    write_study(project, epochs=500)
    for path in (LIVE, MODEL):
        shutil.rmtree(project / path, ignore_errors=True)
    yield project
    beat = read_heartbeat(project / LIVE / "progress.json")
    if beat is not None and is_alive(beat.pid, beat.pid_start):
        os.kill(beat.pid, signal.SIGKILL)


def write_study(folder: Path, epochs: int) -> None:
    text = (PROJECT / "studies" / "smoke.yaml").read_text()
    (folder / "params.yaml").write_text(text.replace("epochs: 2\n", f"epochs: {epochs}\n"))


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """A command in a process group of its own, as a shell gives it; its output goes to one file."""
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    with (folder / "output.txt").open("w") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environment, text=True, stdout=output, stderr=output, start_new_session=True
        )


def until(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for something that another process does; fail after two minutes."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def beat_of(folder: Path) -> Heartbeat:
    beat = read_heartbeat(folder / LIVE / "progress.json")
    assert beat is not None
    return beat


def trained(folder: Path, epochs: int) -> bool:
    return len(HistoryReader(folder / LIVE / "history.csv").poll()) >= epochs


def to_it(process: subprocess.Popen[str], number: int) -> None:
    os.kill(process.pid, number)


def to_its_group(process: subprocess.Popen[str], number: int) -> None:
    os.killpg(process.pid, number)


@pytest.mark.parametrize(
    ("command", "send", "number"),
    [
        ((*SSMLAB, "train", "ads"), to_it, signal.SIGINT),
        ((*SSMLAB, "train", "ads"), to_it, signal.SIGHUP),
        (("dvc", "repro", "train@ads"), to_its_group, signal.SIGINT),
        (("dvc", "repro", "train@ads"), to_its_group, signal.SIGTERM),
        (("dvc", "repro", "train@ads"), to_it, signal.SIGTERM),
        (("dvc", "repro", "train@ads"), to_it, signal.SIGKILL),
        ((*SSMLAB, "repro", "train@ads"), to_it, signal.SIGINT),
        ((*SSMLAB, "repro", "train@ads"), to_it, signal.SIGTERM),
    ],
)
def test_a_signal_stops_all_processes_and_the_next_start_continues(
    project: Path, command: tuple[str, ...], send: Callable[[subprocess.Popen[str], int], None], number: int
) -> None:
    """Each training continues from the state that the one before left, whatever ended it."""
    before = HistoryReader(project / LIVE / "history.csv").poll()
    process = start(project, *command)
    until(lambda: trained(project, len(before) + 1), process)
    send(process, number)
    process.wait(timeout=60)
    until(lambda: state_of(beat_of(project), time.time()) != "running")
    until(lambda: not is_alive(beat_of(project).pid, beat_of(project).pid_start))
    beat, output = beat_of(project), (project / "output.txt").read_text()
    assert (beat.state, "stopped at epoch" in beat.message) == ("stopped", True)
    assert "Traceback" not in output
    assert (f"continuing after epoch {len(before)}/500" in output) == bool(before)
    assert not (project / MODEL).exists()
    rows = read_history(project / LIVE / "history.csv")
    assert [row.epoch for row in rows] == list(range(1, len(rows) + 1))
    assert rows[: len(before)] == before


def test_after_a_stop_dvc_continues_with_the_next_stage(folder: Path) -> None:
    process = start(folder, "dvc", "repro", "train@ads")
    until(lambda: trained(folder, 2), process)
    says = subprocess.run([*SSMLAB, "stop", "ads"], cwd=folder, text=True, capture_output=True, check=True)
    assert "stopped on request, epoch" in says.stdout and "ssmlab repro ads --force" in says.stdout
    assert process.wait(timeout=60) == 0
    done = len(read_history(folder / MODEL / "history.csv"))
    published = {"best.safetensors", "last.safetensors", "history.csv", "manifest.json"}
    assert {path.name for path in (folder / MODEL).iterdir()} == published
    listing = subprocess.run([*SSMLAB, "runs"], cwd=folder, text=True, capture_output=True, check=True)
    assert "stopped" in listing.stdout
    again = start(folder, "dvc", "repro", "train@ads")  # DVC takes the stage as done
    assert again.wait(timeout=60) == 0
    assert len(read_history(folder / MODEL / "history.csv")) == done

    forced = start(folder, *SSMLAB, "repro", "train@ads", "--force")
    until(lambda: trained(folder, done + 1), forced)
    assert f"continuing after epoch {done}/500" in (folder / "output.txt").read_text()
    to_it(forced, signal.SIGINT)
    forced.wait(timeout=60)


def test_a_training_killed_with_dvc_continues_when_dvc_runs_again(folder: Path) -> None:
    """SIGKILL to `dvc repro` and its stage at once; the same command then ends as if nothing had happened."""
    write_study(folder, epochs=8)
    process = start(folder, "dvc", "repro", "train@ads")
    until(lambda: trained(folder, 3), process)
    to_its_group(process, signal.SIGKILL)
    process.wait()
    until(lambda: state_of(beat_of(folder), time.time()) == "killed")
    assert start(folder, "dvc", "repro", "train@ads").wait(timeout=120) == 0
    assert "continuing after epoch" in (folder / "output.txt").read_text()
    resumed = {name: (folder / MODEL / name).read_bytes() for name in ("best.safetensors", "last.safetensors")}
    assert [row.epoch for row in read_history(folder / MODEL / "history.csv")] == list(range(1, 9))

    assert start(folder, *SSMLAB, "train", "ads").wait(timeout=120) == 0
    assert "going on" not in (folder / "output.txt").read_text()  # a finished one starts afresh
    assert {name: (folder / MODEL / name).read_bytes() for name in resumed} == resumed
