"""The state of a study, read from its files without any other process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, fields, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.artifacts.heartbeat import PROBE_PROGRESS, Heartbeat
from ssmlab.artifacts.history import Row, append_row
from ssmlab.core.json_text import canonical_json
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.inputs import StudyInputs
from ssmlab.project.launched import Launched
from ssmlab.project.log import LogFollower
from ssmlab.project.status import RunStatus, RunWatcher, queued_runs
from tests.analysis.synthetic import seeded_params
from tests.artifacts.living_heartbeat import living_heartbeat

NOW = 1_000_000.0
RUNNING = living_heartbeat(task="epoch 3/5", epoch=3, epochs=5, images_per_second=812.5, eta_seconds=9.0, time=NOW - 1)


def row(epoch: int, clean: float, robust: float) -> Row:
    return Row(epoch, 10 * epoch, 1e-3, 2.0, 0.1, clean, robust, 1.5, 700.0 + epoch)


def write_history(path: Path, *rows: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    for each in rows:
        append_row(path, each)


def beat(paths: Paths, heartbeat: Heartbeat) -> None:
    folder = paths.live(heartbeat.run)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "progress.json").write_text(canonical_json(asdict(heartbeat)))


@pytest.fixture
def paths(tmp_path: Path, tiny_params: Params) -> Paths:
    return Paths(tiny_params.study, tmp_path)


def poll(run: str, params: Params, paths: Paths) -> RunStatus:
    return RunWatcher(run, params, paths, StudyInputs(paths)).poll(NOW, run in queued_runs(params, paths))


def ads(params: Params, paths: Paths) -> RunStatus:
    return poll("ads", params, paths)


def test_a_run_without_any_files_is_waiting(tiny_params: Params, paths: Paths) -> None:
    for name in tiny_params.runs:
        status = poll(name, tiny_params, paths)
        assert (status.state, status.words, status.stage) == ("waiting", "waiting", None)
        assert (status.epoch, status.epochs) == (0, tiny_params.runs[status.name].train.epochs)
        assert status.clean is status.robust is status.best_robust is status.eta is status.updated is None
        assert status.rows == ()


def test_a_training_shows_its_live_history(tiny_params: Params, paths: Paths) -> None:
    write_history(paths.live("ads") / "history.csv", row(1, 0.5, 0.4), row(2, 0.6, 0.3))
    beat(paths, RUNNING)
    status = ads(tiny_params, paths)
    assert status.state == "training"
    assert (status.epoch, status.epochs, status.task) == (3, 5, "epoch 3/5")
    assert (status.clean, status.robust) == (0.6, 0.3)
    assert (status.best_clean, status.best_robust, status.best_epoch) == (0.5, 0.4, 1)
    assert (status.images_per_second, status.eta, status.updated) == (812.5, 9.0, NOW - 1)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "training"),
        ({"stage": "attack"}, "attacking"),
        ({"state": "stopped"}, "stopped"),
        ({"state": "failed", "message": "the loss is not finite"}, "failed"),
        ({"pid_start": 1.0}, "killed"),
        ({"time": NOW - 3600}, "stale"),
        ({"host": "elsewhere", "pid_start": 1.0}, "training"),
    ],
)
def test_without_published_files_the_heartbeat_tells_the_state(
    tiny_params: Params, paths: Paths, change: dict[str, object], state: str
) -> None:
    beat(paths, replace(RUNNING, **change))
    status = ads(tiny_params, paths)
    assert status.state == state
    assert (status.eta is not None) == status.at_work == (state in ("training", "attacking"))
    assert status.task == change.get("message", "" if "state" in change else "epoch 3/5")


def test_published_results_replace_a_missing_live_folder(tiny_params: Params, paths: Paths) -> None:
    write_history(paths.model("ads") / "history.csv", row(1, 0.5, 0.4), row(2, 0.7, 0.6))
    status = ads(tiny_params, paths)
    assert (status.state, status.epoch, status.robust) == ("trained", 2, 0.6)
    assert status.updated == (paths.model("ads") / "history.csv").stat().st_mtime
    paths.attack("ads").parent.mkdir(parents=True)
    paths.attack("ads").write_text("{}")
    assert ads(tiny_params, paths).state == "finished"


def test_attacking_pulled_checkpoints_keeps_their_history(tiny_params: Params, paths: Paths) -> None:
    write_history(paths.model("ads") / "history.csv", row(1, 0.5, 0.4))
    beat(paths, replace(RUNNING, stage="attack", epoch=0, epochs=0))
    status = ads(tiny_params, paths)
    assert (status.state, status.clean, status.epoch) == ("attacking", 0.5, 1)


def test_a_training_cut_short_is_stopped_early_also_after_its_attack(tiny_params: Params, paths: Paths) -> None:
    status = RunWatcher("ssm", tiny_params, paths).poll(NOW)
    cut = replace(status, state="stopped", epoch=1, epochs=2)
    for stage in ("train", "attack", "probe"):
        assert replace(cut, stage=stage).words == "stopped early (epoch 1 of 2)"
    whole = replace(cut, epoch=2)
    assert replace(whole, stage="attack").words == "stopped"  # the attack was stopped, after a whole training


def test_a_running_probe_is_shown_and_its_end_hides_no_failed_attack(tiny_params: Params, paths: Paths) -> None:
    write_history(paths.model("ads") / "history.csv", row(1, 0.5, 0.4))
    attack = replace(RUNNING, stage="attack", state="failed", message="the disk is full", time=NOW + 50)
    beat(paths, attack)
    probe = replace(RUNNING, stage="probe", task="best: gains", time=NOW + 60)
    (paths.live("ads") / PROBE_PROGRESS).write_text(canonical_json(asdict(probe)))
    status = ads(tiny_params, paths)
    assert (status.state, status.stage, status.task, status.at_work) == ("probing", "probe", "best: gains", True)
    (paths.live("ads") / PROBE_PROGRESS).write_text(canonical_json(asdict(replace(probe, state="finished"))))
    assert (ads(tiny_params, paths).state, ads(tiny_params, paths).task) == ("failed", "the disk is full")


def test_a_new_training_does_not_show_the_old_ones_curve(tiny_params: Params, paths: Paths) -> None:
    write_history(paths.model("ads") / "history.csv", row(1, 0.5, 0.4), row(2, 0.7, 0.6))
    beat(paths, replace(RUNNING, epoch=1))
    status = ads(tiny_params, paths)
    assert (status.rows, status.clean, status.epoch) == ((), None, 1)


def test_status_shows_what_can_be_read_of_half_written_files(tiny_params: Params, paths: Paths) -> None:
    live = paths.live("ads")
    write_history(live / "history.csv", row(1, 0.5, 0.4))
    with (live / "history.csv").open("a") as file:
        file.write("2,20,0.00")
    (live / "progress.json").write_text('{"stage": "tra')
    status = ads(tiny_params, paths)
    assert (status.state, status.epoch, len(status.rows)) == ("stale", 1, 1)


def test_a_watcher_follows_a_history_that_grows_and_starts_again(tiny_params: Params, tmp_path: Path) -> None:
    paths = Paths("smoke", tmp_path)
    watcher = RunWatcher("ads", tiny_params, paths)

    def robust() -> list[float]:
        return [found.val_robust for found in watcher.poll(NOW).rows]

    beat(paths, RUNNING)
    history = paths.live("ads") / "history.csv"
    assert robust() == []
    write_history(history, row(1, 0.5, 0.4))
    assert robust() == [0.4]
    append_row(history, row(2, 0.5, 0.5))
    assert robust() == [0.4, 0.5]
    write_history(history, row(1, 0.5, 0.1))
    assert robust() == [0.1]


@given(text=st.text(alphabet="ab\n\r", max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6))
@settings(deadline=None, max_examples=25)
def test_a_followed_log_is_the_log(tmp_path_factory: pytest.TempPathFactory, text: str, cuts: list[int]) -> None:
    path = tmp_path_factory.mktemp("log") / "log.txt"
    follower = LogFollower(path)
    lines: list[str] = []
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in pairwise(places):
        with path.open("a", newline="") as file:
            file.write(text[start:end])
        lines += follower.poll()
    lines += follower.poll(whole=False)
    whole = text.split("\n")
    expected = whole if whole[-1] else whole[:-1]
    assert lines == [line.rstrip("\r").split("\r")[-1] for line in expected]


def test_a_log_that_is_cut_or_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    follower = LogFollower(path)
    assert follower.poll() == []
    path.write_text("one\ntwo\nthr")
    assert follower.poll() == ["one", "two"]
    path.write_text("new\n")
    assert follower.poll() == ["new"]
    other = tmp_path / "other"
    other.write_text("another, longer file\n")
    other.replace(path)
    assert follower.poll() == ["another, longer file"]


def test_a_log_is_read_from_its_start_byte_or_its_tail(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(f"line {i}\n" for i in range(1000)))
    follower = LogFollower(path, tail=30)
    assert follower.poll() == ["line 997", "line 998", "line 999"]
    with path.open("a") as file:
        file.write("é\n")
    assert follower.poll() == ["é"]
    assert LogFollower(path, start=len("line 0\n") * 10).poll()[0] == "line 10"


@pytest.mark.parametrize(
    ("targets", "queued"),
    [
        (("ssm-pgd",), ["ssm-pgd-s0", "ssm-pgd-s1", "ssm-pgd-s2"]),  # a group means its runs
        (("ssm-pgd-s1", "attack@ads-pgd-s0"), ["ssm-pgd-s1", "ads-pgd-s0"]),
        (("ssm-pgd-s1", "report"), None),  # a report needs every run
        ((), None),
    ],
)
def test_a_launch_queues_the_runs_that_its_targets_name(
    tiny_params: Params,
    paths: Paths,
    monkeypatch: pytest.MonkeyPatch,
    targets: tuple[str, ...],
    queued: list[str] | None,
) -> None:
    params = seeded_params(tiny_params)
    launched = Launched(1, 0.0, targets, paths.root, params.study, log_start=0, started=NOW)
    monkeypatch.setattr("ssmlab.project.status.active", lambda paths: launched)
    assert queued_runs(params, paths) == set(params.runs if queued is None else queued)


def test_status_and_launch_do_not_import_torch() -> None:
    code = "import sys, ssmlab.project.status, ssmlab.project.launch; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_changed_run_names_every_changed_place_once() -> None:
    """It said "code and code" when both the training and the attack had run with other code."""
    reasons = ("code: trained with other code", "code: attacked with other code", "data: other images")
    unknown = {field.name: None for field in fields(RunStatus)}
    status = RunStatus(**{**unknown, "state": "changed", "reasons": reasons})
    assert status.words == "changed (code and data)"
