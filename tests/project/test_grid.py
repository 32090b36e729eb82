"""Runs side by side, registered with DVC afterwards if they belong to the present params, data and code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import grid_plan
from ssmlab.project.grid import run_grid
from ssmlab.project.grid_jobs import Jobs, Resources, most_jobs, slots
from ssmlab.project.grid_plan import GridPlan, plan_grid, selected_runs
from ssmlab.project.params_file import load_params
from ssmlab.system.cores import cores
from ssmlab.system.gpus import visible_gpus

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.xdist_group("grid")  # one worker: the tests share a project

TINY = [
    ("train: all", "train: 200"),
    ("epochs: 2", "epochs: 1"),
    ("images: 50", "images: 20"),
    ("warmup: 1 ", "warmup: 0 "),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, copy_project: Callable[[Path], None]) -> Path:
    """A project with the smoke study made tiny; nothing has run."""
    folder = tmp_path_factory.mktemp("grid")
    copy_project(folder)
    text = (PROJECT / "studies" / "smoke.yaml").read_text()
    for old, new in TINY:
        assert old in text
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def test_a_grid_is_planned_in_a_folder_that_is_no_git_checkout(tmp_path: Path) -> None:
    """`ssmlab new` makes one, and DVC alone refuses it."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").touch()
    (tmp_path / "dvc.yaml").write_text("stages: {prepare: {cmd: 'true', outs: [data]}}\n")
    assert plan_grid(Paths("smoke", tmp_path), []) == GridPlan(True, {})


@pytest.mark.parametrize(
    ("status", "stages"),
    [
        (set(), {}),
        ({"attack@ssm"}, {"ssm": ("attack",)}),
        ({"attack@ads", "train@ssm"}, {"ssm": ("train", "attack", "probe"), "ads": ("attack",)}),
        ({"prepare"}, dict.fromkeys(("ssm", "ads"), ("train", "attack", "probe"))),
    ],
)
def test_a_grid_runs_also_the_stages_whose_inputs_will_change(
    status: set[str], stages: dict[str, tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.setattr(grid_plan, "dvc_status", lambda root: status)
    assert plan_grid(Paths("smoke", tmp_path), ["ssm", "ads"]) == GridPlan("prepare" in status, stages)


@pytest.mark.parametrize("damaged", ["dvc.lock", ".dvc/tmp/rwlock"])
def test_what_a_kill_has_left_of_dvcs_files_is_repaired_before_a_grid_is_planned(damaged: str, tmp_path: Path) -> None:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / ".dvc" / "config").touch()
    (tmp_path / "dvc.yaml").write_text("stages: {prepare: {cmd: 'true', outs: [data]}}\n")
    (tmp_path / damaged).touch()
    said: list[Event] = []
    assert plan_grid(Paths("smoke", tmp_path), [], tell=said.append) == GridPlan(True, {})
    assert [isinstance(event, Note) and damaged in event.text and event.warning for event in said] == [True]


@pytest.fixture
def params(root: Path) -> Params:
    return load_params(root / "params.yaml")


@pytest.fixture
def paths(root: Path) -> Paths:
    return Paths("smoke", root)


def dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, text=True, capture_output=True, check=True).stdout


def test_a_group_means_its_runs_and_no_name_means_all_runs(params: Params) -> None:
    assert selected_runs(params, []) == list(params.runs)
    assert selected_runs(params, ["ads", "ssm"]) == ["ssm", "ads"]


@pytest.mark.parametrize("jobs", [1, 2, 3, 5])
def test_slots_share_every_processor_once_where_there_are_enough(jobs: int) -> None:
    shared = [processor for slot in slots(Resources(jobs)) for processor in slot.processors]
    assert len(shared) == len(set(shared))
    assert len(slots(Resources(jobs))) == jobs


def test_jobs_share_only_the_gpus_that_the_user_gave_to_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5f3a,7,3")
    assert [slot.gpus for slot in slots(Resources(2, gpus_per_run=2))] == [("2", "GPU-5f3a"), ("7", "3")]
    assert [slot.gpus for slot in slots(Resources(3))] == [()] * 3
    assert [most_jobs(each) for each in (0, 2, 4, 5)] == [cores(), min(cores(), 2), 1, 1]
    with pytest.raises(UserError, match=r"3 jobs at a time with 2 GPU\(s\) each, but there are 4; lower --jobs"):
        slots(Resources(3, gpus_per_run=2))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,-1,0")
    assert visible_gpus() == ["1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_without_a_choice_of_the_user_nvidia_smi_counts_the_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 (UUID: a)'\necho '  MIG 1g.10gb'\necho 'GPU 1: NVIDIA H100'\n")
    tool.chmod(0o755)
    assert visible_gpus() == ["0", "1"]
    tool.write_text("#!/bin/sh\necho 'GPU 0: broken'\nexit 9\n")
    assert visible_gpus() == []


def test_only_the_jobs_of_a_grid_have_its_mark_in_their_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "yes")
    before, given = dict(os.environ), dict[str, str]()
    jobs = Jobs(Paths("smoke", tmp_path), Resources(1))
    monkeypatch.setattr(jobs.executor, "submit", lambda *_: given.update(os.environ))
    jobs.submit("ads", ["train"])
    assert dict(os.environ) == before
    assert (given["SSMLAB_GRID"], given["KEPT"]) == ("1", "yes")


@pytest.mark.slow
def test_runs_that_a_grid_did_are_up_to_date_for_dvc_and_are_not_run_again(
    root: Path, params: Params, paths: Paths
) -> None:
    plan = plan_grid(paths, ["ssm", "ads"])
    stages = ("train", "attack", "probe")
    assert plan == GridPlan(prepare=True, stages={"ssm": stages, "ads": stages})
    said: list[Event] = []
    done, failed = run_grid(params, paths, plan, Resources(jobs=2), said.append)
    assert (done, failed) == (["ssm", "ads"], {})
    assert [event.text for event in said if isinstance(event, Note)][:3] == [
        "preparing the data",
        "ssm: started",
        "ads: started",
    ]
    assert plan_grid(paths, ["ssm", "ads"]).stages == {}
    assert "Running stage" not in dvc(root, "repro", "train@ssm", "attack@ssm", "probe@ssm", "train@ads", "attack@ads")
    assert plan_grid(paths, list(params.runs)).stages == {"attention": ("train", "attack", "probe")}


def measured(results: Path) -> dict[str, Any]:
    """Attack results without threads and timings, which differ in the job of a grid."""
    about_the_making = ("provenance", "manifest", "digest")
    return {key: value for key, value in json.loads(results.read_text()).items() if key not in about_the_making}


@pytest.mark.slow
def test_a_grid_makes_the_bytes_that_dvc_makes(root: Path, paths: Paths) -> None:
    of_grid = {path.name: path.read_bytes() for path in paths.model("ssm").glob("*.safetensors")}
    attacked = measured(paths.attack("ssm"))
    dvc(root, "repro", "--force", "train@ssm", "attack@ssm")
    assert {path.name: path.read_bytes() for path in paths.model("ssm").glob("*.safetensors")} == of_grid
    assert measured(paths.attack("ssm")) == attacked


@pytest.mark.slow
def test_a_run_whose_job_fails_is_reported_and_not_registered(params: Params, paths: Paths) -> None:
    backup = paths.prepared.with_suffix(".kept")
    shutil.move(paths.prepared, backup)
    try:
        plan = GridPlan(False, {"attention": ("train", "attack", "probe")})
        done, failed = run_grid(params, paths, plan, Resources(jobs=1))
    finally:
        shutil.move(backup, paths.prepared)
    assert done == []
    assert "there is no prepared data set" in failed["attention"]
    assert "attention" in plan_grid(paths, ["attention"]).stages


@pytest.mark.slow
def test_nothing_is_registered_when_params_change_while_a_grid_runs(root: Path, params: Params, paths: Paths) -> None:
    file = root / "params.yaml"
    before = file.read_text()

    def edit(event: Event) -> None:
        if isinstance(event, Note) and event.text == "attention: started":
            file.write_text(before.replace("lr: 5.0e-3", "lr: 4.0e-3"))

    try:
        done, failed = run_grid(params, paths, GridPlan(False, {"attention": ("train",)}), Resources(jobs=1), edit)
    finally:
        file.write_text(before)
    assert done == []
    assert "changed while it ran" in failed["attention"]
    assert "attention" in plan_grid(paths, ["attention"]).stages


@pytest.mark.slow
def test_a_checkpoint_of_other_params_is_not_registered(root: Path, params: Params, paths: Paths) -> None:
    """As when a run was trained by hand before params.yaml was changed: only its attack is in the plan."""
    file = root / "params.yaml"
    before = file.read_text()
    file.write_text(before.replace("lr: 5.0e-3", "lr: 4.0e-3"))
    try:
        changed = load_params(file)
        done, failed = run_grid(changed, paths, GridPlan(False, {"ads": ("attack",)}), Resources(jobs=1))
    finally:
        file.write_text(before)
    assert done == []
    assert "other params" in failed["ads"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_grid_leaves_no_process_and_keeps_the_state_of_its_trainings(
    root: Path, paths: Paths, number: signal.Signals
) -> None:
    file = root / "params.yaml"
    before = file.read_text()
    file.write_text(before.replace("epochs: 1", "epochs: 5000"))
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "ssmlab", "grid", "ssm", "ads", "--jobs", "2"],
            cwd=root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        states = [paths.live(run) / "state.safetensors" for run in ("ssm", "ads")]
        wait_until(lambda: all(state.is_file() for state in states))
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in (130, -signal.SIGINT), errors.decode()  # why: tests/test_whole_pipeline.py
        assert errors.decode().count("\n") == 1
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
        assert all(state.is_file() for state in states)
    finally:
        file.write_text(before)
        for run in ("ssm", "ads"):
            shutil.rmtree(paths.live(run), ignore_errors=True)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does; fail after two minutes."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
