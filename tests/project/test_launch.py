"""Launching, finding again and stopping `dvc repro`, with a small Python program in DVC's place."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ssmlab.core.errors import UserError
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import launch
from ssmlab.project.launch import Launched
from ssmlab.project.log import LogFollower

# A leader that ignores SIGINT while its child works, as DVC does, and a child that takes SIGINT as an order to end.
FAMILY = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("child: last words", flush=True), sys.exit(3)))
print("child: at work", flush=True)
time.sleep(60)
'''])
signal.signal(signal.SIGINT, signal.SIG_IGN)
child.wait()
print("ERROR: failed to reproduce 'train@ads'", flush=True)
sys.exit(1)
"""
DEAF = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("deaf: at work", flush=True)
time.sleep(60)
"""
ORPHANING = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "print('orphan: at work', flush=True); import time; time.sleep(60)"])
"""

Fake = Callable[[str], None]


@pytest.fixture
def paths(tmp_path: Path, project: Path, tiny_params: Params) -> Iterator[Paths]:
    (tmp_path / "dvc.yaml").write_text((project / "dvc.yaml").read_text())
    paths = Paths(tiny_params.study, tmp_path)
    yield paths
    left = launch.active(paths)
    if left is not None:
        os.killpg(left.pid, signal.SIGKILL)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Puts a program in DVC's place."""

    def put(code: str) -> None:
        monkeypatch.setattr(launch, "dvc_command", lambda targets, force: [sys.executable, "-c", code, *targets])

    return put


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does; a minute is a failure, not a measurement."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def says(launched: Launched, text: str) -> bool:
    return text in launched.log.read_text()


def group_members(group: int) -> list[str]:
    """Running processes of the group, as `ps` knows them."""
    if shutil.which("ps") is None:
        pytest.skip("needs ps to count processes independently")
    listing = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,pid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [pid for pgid, stat, pid in rows if int(pgid) == group and "Z" not in stat]


def test_a_good_end(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("import sys; print('targets', sys.argv[1:])")
    launched = launch.launch(tiny_params, paths, ["ads", "report"])
    until(lambda: not launched.running)
    assert launched.problem is None
    assert launched.log.read_text().splitlines() == [
        "$ ssmlab repro ads report",
        "targets ['train@ads', 'attack@ads', 'report']",
    ]
    assert launch.active(paths) is None


def test_it_is_detached_and_found_again(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(FAMILY)
    launched = launch.launch(tiny_params, paths, ["ads"])
    until(lambda: says(launched, "at work"))
    assert os.getsid(launched.pid) == os.getpgid(launched.pid) == launched.pid != os.getsid(0)
    found = launch.active(paths)
    assert found == launched and found is not None and found.process is None
    with pytest.raises(UserError, match=r"repro of ads is already running"):
        launch.launch(tiny_params, paths, [])
    launch.stop(found)
    assert not launched.running


def test_it_outlives_whoever_launched_it(paths: Paths, project: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from ssmlab.project import launch
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
launch.dvc_command = lambda targets, force: [sys.executable, "-c", {DEAF!r}]
params = load_params(Path({str(project / "studies" / "smoke.yaml")!r}))
launch.launch(params, Paths("smoke", Path({str(paths.root)!r})), [])
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project, timeout=60)
    found = launch.active(paths)
    assert found is not None
    until(lambda: says(found, "at work"))
    launch.stop(found, patience=0.2)
    assert group_members(found.pid) == []
    assert launch.active(paths) is None


def test_stop_lets_children_speak_and_leaves_none(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(FAMILY)
    launched = launch.launch(tiny_params, paths, ["ads"])
    until(lambda: says(launched, "at work"))
    assert len(group_members(launched.pid)) == 2
    launch.stop(launched)
    assert group_members(launched.pid) == []
    assert says(launched, "last words")
    assert launched.problem == "failed to reproduce 'train@ads'"


def test_stop_ends_with_force(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(DEAF)
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: says(launched, "at work"))
    launch.stop(launched, patience=0.2)
    assert group_members(launched.pid) == []
    assert launched.problem == "dvc was ended by signal 9"


def test_a_child_that_outlives_its_leader_still_counts(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(ORPHANING)
    launched = launch.launch(tiny_params, paths, [])
    assert launched.process is not None
    launched.process.wait()
    until(lambda: says(launched, "at work"))
    found = launch.active(paths)
    assert found is not None
    launch.stop(found)
    assert group_members(launched.pid) == []


def test_stopping_what_is_gone(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("")
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: not launched.running)
    launch.stop(launched)


def test_a_reused_pid_is_not_ours(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake(DEAF)
    launched = launch.launch(tiny_params, paths, [])
    record = launch.record_path(paths)
    text = record.read_text()
    record.write_text(text.replace(str(launched.pid_start), "12345.0"))
    assert launched.pid_start is not None and launch.active(paths) is None
    record.write_text(text)
    launch.stop(launched, patience=0.1)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', "null"])
def test_a_record_that_is_none(paths: Paths, content: str) -> None:
    launch.record_path(paths).parent.mkdir(parents=True)
    launch.record_path(paths).write_text(content)
    assert launch.active(paths) is None


def test_dvcs_own_error_is_the_problem(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    line = "Unable to acquire lock. Most likely another DVC process is running"
    fake(f"import sys; print('ERROR: {line}'); sys.exit(255)")
    first = launch.launch(tiny_params, paths, [])
    until(lambda: not first.running)
    assert first.problem == line
    fake("")
    second = launch.launch(tiny_params, paths, [])
    until(lambda: not second.running)
    found = replace(second, process=None)  # as another process sees it, by the log alone
    assert found.problem is None  # the earlier launch's part of the log is not its own
    assert replace(first, process=None).problem == line


def test_a_problem_without_dvcs_words(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("import sys; print('No module named dvc'); sys.exit(1)")
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: not launched.running)
    assert launched.problem == "dvc ended with exit code 1: No module named dvc"


def test_foreground(tiny_params: Params, paths: Paths, fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    fake("import sys; print('on this terminal', flush=True); sys.exit(7)")
    assert launch.foreground(tiny_params, paths, ["report"]) == 7
    assert capfd.readouterr().out == "on this terminal\n"


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


def test_stages(tiny_params: Params, paths: Paths) -> None:
    runs = ["ssm", "attention", "ads"]
    assert launch.stages_of(tiny_params, paths.root) == [
        "prepare",
        *(f"train@{run}" for run in runs),
        *(f"attack@{run}" for run in runs),
        "analyze",
        "report",
    ]


def test_foreach_over_a_list_or_a_mapping() -> None:
    assert launch.instances("s", {"foreach": ["a", "b"], "do": {}}, ["x"]) == ["s@a", "s@b"]
    assert launch.instances("s", {"foreach": {"a": 1}, "do": {}}, ["x"]) == ["s@a"]


def test_targets(tiny_params: Params, paths: Paths) -> None:
    def resolve(*targets: str) -> tuple[str, ...]:
        return launch.resolve(targets, tiny_params, paths.root)

    assert resolve() == ()
    assert resolve("ads", "train@ads", "train", "report") == ("train@ads", "attack@ads", "train", "report")
    with pytest.raises(UserError, match=r"no run or stage 'adz' \(runs: ssm, attention, ads; stages: prepare, train"):
        resolve("adz")


def test_without_a_pipeline(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dvc\.yaml"):
        launch.launch(tiny_params, Paths("smoke", tmp_path), [])
    (tmp_path / "dvc.yaml").write_text("stages: 3\n")
    with pytest.raises(UserError, match="has no stages"):
        launch.stages_of(tiny_params, tmp_path)


def test_a_grid_in_params_yaml_is_refused(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    """DVC would only say that it could not find `runs`."""
    (paths.root / "params.yaml").write_text("grid: {seeds: [0]}")
    with pytest.raises(UserError, match=r"params\.yaml: grid.*ssmlab use NAME"):
        launch.launch(tiny_params, paths, [])


def test_stage_commands_find_this_environment(tiny_params: Params, paths: Paths, fake: Fake) -> None:
    fake("import os; print(os.environ['PATH'].split(os.pathsep)[0]); print(os.getcwd())")
    launched = launch.launch(tiny_params, paths, [])
    until(lambda: not launched.running)
    assert LogFollower(launched.log).poll()[1:] == [str(Path(sys.executable).parent), str(paths.root.resolve())]


def test_the_real_command() -> None:
    assert launch.dvc_command(("train@ads",), True) == [sys.executable, "-m", "dvc", "repro", "--force", "train@ads"]


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
        env=launch.environment(paths.root),
        text=True,
        capture_output=True,
        check=True,
    )
    assert called.stdout.strip() == str(only_python3)
