"""Launching `dvc repro`, with a small Python program in DVC's place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import dvc_command, dvc_files, launch, pipeline
from ssmlab.project.launched import Launched, active, stop_launch
from ssmlab.project.log import LogFollower
from tests.analysis.synthetic import data_summary, write_data
from tests.project.launching.programs import DEAF, FAMILY, Fake, group_members, says, until


def test_a_launch_that_ends_well_has_no_problem(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("import sys; print('targets', sys.argv[1:])")
    launched = launch.launch(tiny_params, paths, ["ads", "report"])
    until(lambda: not launched.running)
    assert launched.problem is None
    assert launched.log.read_text().splitlines() == [
        "$ ssmlab repro ads report",
        "targets ['train@ads', 'attack@ads', 'probe@ads', 'report']",
    ]
    assert active(paths) is None


def test_a_launch_is_detached_and_found_again(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(FAMILY)
    launched = launch.launch(tiny_params, paths, ["ads"])
    until(lambda: says(launched, "at work"))
    assert os.getsid(launched.pid) == os.getpgid(launched.pid) == launched.pid != os.getsid(0)
    found = active(paths)
    assert found == launched and found is not None and found.process is None
    with pytest.raises(UserError, match=r"repro of ads is already running"):
        launch.launch(tiny_params, paths, [])
    stop_launch(found)
    assert not launched.running


def test_a_launch_outlives_whoever_launched_it(paths: Paths, project: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from ssmlab.project import dvc_files, launch, pipeline
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
launch.repro_command = lambda targets, force: [sys.executable, "-c", {DEAF!r}]
params = load_params(Path({str(project / "studies" / "smoke.yaml")!r}))
launch.launch(params, Paths("smoke", Path({str(paths.root)!r})), [])
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project, timeout=60)
    found = active(paths)
    assert found is not None
    until(lambda: says(found, "at work"))
    stop_launch(found, patience=0.2)
    assert group_members(found.pid) == []
    assert active(paths) is None


def test_a_foreground_launch_writes_to_this_terminal_and_returns_the_exit_code(
    tiny_params: Params, paths: Paths, fake: Fake, capfd: pytest.CaptureFixture[str]
) -> None:
    fake("import sys; print('on this terminal', flush=True); sys.exit(7)")
    assert launch.foreground(tiny_params, paths, ["report"]) == 7
    assert capfd.readouterr().out == "on this terminal\n"


def test_a_copy_of_the_lock_file_is_kept_after_a_pipeline_that_ended_well(
    tiny_params: Params, paths: Paths, fake: Fake
) -> None:
    whole = "schema: '2.0'\nstages:\n  prepare:\n    outs:\n    - path: data/smoke.safetensors\n      size: 12\n"
    fake(f"open('dvc.lock', 'w').write({whole!r})")
    assert launch.foreground(tiny_params, paths, []) == 0
    assert dvc_files.kept_lock("smoke", paths.root).read_text() == whole


def test_an_interrupted_foreground_leaves_nothing(
    tiny_params: Params, paths: Paths, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("import time; time.sleep(60)")
    seen: list[int] = []

    def interrupt(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        seen.append(self.pid)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(subprocess.Popen, "wait", interrupt)
        launch.foreground(tiny_params, paths, [])
    assert group_members(seen[0]) == []


def test_without_stages_in_dvc_yaml_nothing_is_launched(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dvc\.yaml"):
        launch.launch(tiny_params, Paths("smoke", tmp_path), [])
    (tmp_path / "dvc.yaml").write_text("stages: 3\n")
    with pytest.raises(UserError, match="has no stages"):
        pipeline.stages_of(tiny_params, tmp_path)


def test_a_launch_of_a_study_that_is_no_longer_in_params_yaml_is_refused(
    tiny_params: Params, paths: Paths, fake: Fake
) -> None:
    (paths.root / "params.yaml").write_text("study: mnist5k")
    with pytest.raises(UserError, match="its study is not smoke any more, but mnist5k; start again"):
        launch.launch(tiny_params, paths, [])
    assert active(paths) is None


def test_a_program_that_cannot_be_started_is_named_and_not_the_log(
    tiny_params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(paths.root / "no-python")
    monkeypatch.setattr(launch, "repro_command", lambda targets, force: [missing])
    with pytest.raises(UserError, match=r"no-python: cannot be used .No such file or directory.; dvc was not started"):
        launch.launch(tiny_params, paths, [])


def test_a_grid_in_params_yaml_is_refused(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    """DVC would only say that it could not find `runs`."""
    (paths.root / "params.yaml").write_text("grid: {seeds: [0]}")
    with pytest.raises(UserError, match=r"params\.yaml: grid.*ssmlab use NAME"):
        launch.launch(tiny_params, paths, [])


def test_attacks_that_the_data_do_not_allow_are_refused_before_any_training(
    tiny_params: Params, paths: Paths, fake: Fake
) -> None:
    fake("")
    raw = tiny_params.plain()
    raw["attack"]["attacks"]["fgsm"]["images"] = 5000
    write_data(paths.prepared, data_summary())
    with pytest.raises(UserError, match=r"attack.attacks.fgsm: 5000 images are requested, but there are 100"):
        launch.foreground(Params.model_validate(raw), paths, [])
    paths.prepared.write_bytes(b"damaged")
    assert launch.foreground(tiny_params, paths, []) == 0


def test_stage_commands_find_this_environment(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("import os; print(os.environ['PATH'].split(os.pathsep)[0]); print(os.getcwd())")
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: not launched.running)
    assert LogFollower(launched.log).poll()[1:] == [str(Path(sys.executable).parent), str(paths.root.resolve())]


def test_dvc_is_run_by_the_python_that_runs_now() -> None:
    assert dvc_command.repro_command(("train@ads",), True) == [
        sys.executable,
        "-m",
        "dvc",
        "repro",
        "--force",
        "train@ads",
    ]


def test_stages_run_under_the_python_that_launched_them_also_where_it_is_not_called_python(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's /usr/bin has python3 and no python."""
    only_python3 = tmp_path / "bin" / "python3"
    only_python3.parent.mkdir()
    only_python3.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(only_python3))
    called = subprocess.run(
        ["python", "-c", "import sys; print(sys.orig_argv[0])"],
        env=dvc_command.environment(paths.root),
        text=True,
        capture_output=True,
        check=True,
    )
    assert called.stdout.strip() == str(only_python3)


def test_only_one_of_three_simultaneous_launches_starts(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(DEAF)
    started: list[Launched] = []
    refused: list[UserError] = []

    def launch_one() -> None:
        try:
            started.append(launch.launch(tiny_params, paths, []))
        except UserError as error:
            refused.append(error)

    threads = [threading.Thread(target=launch_one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1
    assert len(refused) == 2 and all("already running" in str(error) for error in refused)
    stop_launch(started[0], patience=0.1)


def test_a_damaged_lock_file_is_repaired_before_dvc_starts(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    whole = "schema: '2.0'\nstages:\n  prepare:\n    cmd: x\n    outs:\n    - path: data/smoke.safetensors\n"
    whole += "      md5: 0a\n      size: 12\n"
    lock = paths.root / "dvc.lock"
    lock.write_text(whole)
    fake("print(open('dvc.lock').read())")
    assert launch.foreground(tiny_params, paths, []) == 0
    lock.write_text("")
    (paths.root / ".dvc" / "tmp").mkdir(parents=True)
    (paths.root / ".dvc" / "tmp" / "rwlock").write_text("")
    notes: list[Event] = []
    assert launch.foreground(tiny_params, paths, [], tell=notes.append) == 0
    assert lock.read_text() == whole
    assert [isinstance(note, Note) and note.warning for note in notes] == [True, True]


def test_another_dvc_command_is_waited_for_with_a_message_and_a_limit(
    tiny_params: Params, paths: Paths, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("")
    busy = ["`dvc commit` (process 4711)"] * 2
    monkeypatch.setattr(launch, "dvc_at_work", lambda root: busy.pop() if busy else None)
    notes: list[Event] = []
    assert launch.foreground(tiny_params, paths, [], tell=notes.append, wait=60.0) == 0
    assert len(notes) == 1 and "4711" in str(notes[0]) and "60 s" in str(notes[0])
    monkeypatch.setattr(launch, "dvc_at_work", lambda root: "`dvc commit` (process 4711)")
    with pytest.raises(UserError, match=r"4711.*after 0 s|4711.*still running"):
        launch.foreground(tiny_params, paths, [], wait=0.3)
