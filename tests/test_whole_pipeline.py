"""The smoke study through `dvc repro` in an empty folder that is no git checkout, and what is run again afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SSMLAB = (sys.executable, "-m", "ssmlab")  # the copy in the folder where it runs
pytestmark = pytest.mark.xdist_group("whole-pipeline")  # one worker: the tests share one finished study


def run(folder: Path, *command: str, **settings: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=500, check=False, **settings
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, copy_project: Callable[[Path], None]) -> Path:
    """A folder with the finished smoke study; tests must leave it finished."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    shutil.copy(PROJECT / "studies" / "smoke.yaml", folder / "params.yaml")
    done = run(folder, *SSMLAB, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def stages_run(output: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", output)


def would_run(folder: Path) -> set[str]:
    status = json.loads(run(folder, "dvc", "status", "--json").stdout)
    return set(status)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_pipeline_leaves_every_output_and_a_clean_status(study: Path) -> None:
    for name in (
        "data/smoke.safetensors",
        "models/smoke/ads/best.safetensors",
        "models/smoke/ads/last.safetensors",
        "models/smoke/ads/history.csv",
        "results/smoke/attack/ads.json",
        "results/smoke/probe/ads.json",
        "results/smoke/analysis/summary.json",
        "results/smoke/report.md",
        "results/smoke/report.html",
    ):
        assert (study / name).stat().st_size > 0, name
    assert any((study / "results/smoke/figures").iterdir())
    assert would_run(study) == set()


def test_running_the_pipeline_again_runs_nothing(study: Path) -> None:
    again = run(study, *SSMLAB, "repro")
    assert again.returncode == 0
    assert stages_run(again.stdout) == []
    assert "report.html" in again.stdout


def test_a_change_runs_again_exactly_the_stages_that_depend_on_it(study: Path) -> None:
    params = study / "params.yaml"
    before = params.read_text()
    try:
        edit(params, "epochs: 2", "epochs: 1")
        assert {"train@ssm", "train@attention", "train@ads"} <= would_run(study)
        params.write_text(before)
        edit(params, "kind: fgsm, images: 50", "kind: fgsm, images: 40")
        changed = would_run(study)
        assert changed == {"attack@ssm", "attack@attention", "attack@ads", "analyze"}
        params.write_text(before)
        edit(params, "images: 16 ", "images: 12 ")
        assert would_run(study) == {"probe@ssm", "probe@attention", "probe@ads", "analyze"}
        params.write_text(before)
        edit(params, "title: Smoke test", "title: Another title")
        assert would_run(study) == {"report"}
        params.write_text(before)
        edit(params, "ads: {act: relu, parts: both}", "ads: {act: tanh, parts: both}")
        assert "train@ads" in would_run(study)
        assert "train@ssm" not in would_run(study)
    finally:
        params.write_text(before)


@pytest.mark.parametrize("module", ["cli/app.py", "cli/progress.py", "tui/app.py"])
def test_touching_the_user_interface_runs_nothing(study: Path, module: str) -> None:
    with (study / "ssmlab" / module).open("a") as file:
        file.write("\n# touched\n")
    assert would_run(study) == set()


def test_touching_a_mixer_retrains(study: Path) -> None:
    file = study / "ssmlab" / "nets" / "s4.py"
    before = file.read_text()
    file.write_text(before + "\n# touched\n")
    assert {"train@ssm", "attack@ssm"} <= would_run(study)
    file.write_text(before)


def test_switching_the_study_and_back_runs_nothing_again(study: Path) -> None:
    assert run(study, *SSMLAB, "use", "mnist5k").returncode == 0
    assert "train@ssm-gelu-s0" in would_run(study)
    assert run(study, *SSMLAB, "use", "smoke").returncode == 0
    assert would_run(study) == set()


def test_compare_writes_every_format(study: Path) -> None:
    table = run(study, *SSMLAB, "compare", "ads", "attention")
    assert table.returncode == 0, table.stderr
    assert "attention" in table.stdout
    assert json.loads(run(study, *SSMLAB, "compare", "ads", "attention", "--format", "json").stdout)
    by_path = run(study, *SSMLAB, "compare", "models/smoke/ads/best.safetensors", "smoke/ssm", "--format", "csv")
    assert by_path.returncode == 0, by_path.stderr


def test_compare_refuses_different_protocols(study: Path) -> None:
    results = study / "results/smoke/attack/ads.json"
    before = results.read_text()
    params = (study / "params.yaml").read_text()
    try:
        edit(study / "params.yaml", "  eps: 0.1\n", "  eps: 8/255\n")
        assert run(study, *SSMLAB, "attack", "ads").returncode == 0
        refused = run(study, *SSMLAB, "compare", "ads", "ssm")
        assert refused.returncode == 3
        assert len(refused.stderr.strip().splitlines()) == 1
        assert "eps" in refused.stderr
        forced = run(study, *SSMLAB, "compare", "ads", "ssm", "--force")
        assert forced.returncode == 0
        assert "protocol" in forced.stdout
    finally:
        results.write_text(before)
        (study / "params.yaml").write_text(params)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_leaves_the_earlier_results(study: Path, name: signal.Signals) -> None:
    earlier = {file.name: file.read_bytes() for file in (study / "models/smoke/ads").iterdir()}
    params = (study / "params.yaml").read_text()
    try:
        edit(study / "params.yaml", "epochs: 2", "epochs: 2000")
        process = subprocess.Popen(
            [*SSMLAB, "train", "ads"], cwd=study, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        live = study / "runs/smoke/ads/history.csv"
        live.unlink(missing_ok=True)
        for _ in range(600):
            if live.is_file() and live.read_text().count("\n") > 1:
                break
            time.sleep(0.1)
        process.send_signal(name)
        _, errors = process.communicate(timeout=60)
    finally:
        (study / "params.yaml").write_text(params)
    # After an interrupted `exec` of a text, with which dataclasses are made, `python -m` ends itself by SIGINT, even if
    # the interrupt was caught. A shell calls both 130.
    assert process.returncode in (130, -signal.SIGINT), errors
    assert len(errors.strip().splitlines()) == 1
    assert "Traceback" not in errors
    assert {file.name: file.read_bytes() for file in (study / "models/smoke/ads").iterdir()} == earlier


def test_a_truncated_checkpoint_is_one_line(study: Path) -> None:
    file = study / "models/smoke/ads/best.safetensors"
    before = file.read_bytes()
    try:
        file.write_bytes(before[: len(before) // 2])
        for command in (["attack", "ads"], ["compare", str(file.relative_to(study)), "ssm"]):
            broken = run(study, *SSMLAB, *command)
            assert broken.returncode == 1
            assert len(broken.stderr.strip().splitlines()) == 1, broken.stderr
            assert "best.safetensors" in broken.stderr
    finally:
        file.write_bytes(before)


def test_no_space_left_is_one_line(study: Path) -> None:
    """A file-size limit makes every larger write fail as a full disk does, in the middle."""
    earlier = (study / "models/smoke/ads/best.safetensors").read_bytes()
    full = run(study, "bash", "-c", "ulimit -f 4; exec ssmlab train ads")
    assert full.returncode == 1
    assert len(full.stderr.strip().splitlines()) == 1, full.stderr
    assert (study / "models/smoke/ads/best.safetensors").read_bytes() == earlier


def test_the_readme_snippet_works(study: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        done = run(
            study, sys.executable, "-c", block.replace("mnist5k/ads-s0", "smoke/ads").replace("mnist5k", "smoke")
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
