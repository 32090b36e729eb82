"""DVC's own commands on a tiny study: what docs/dvc.md shows works, on real experiments, clones and a remote."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dvc-commands")]  # one worker: the tests share one project


def run(folder: Path, *command: str) -> str:
    environment = os.environ | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
        "PYTHONPATH": "",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def study(finished: Path) -> Iterator[Path]:
    """The finished study; what a test changes in its workspace is put back."""
    yield finished
    run(finished, "git", "checkout", "-q", "--", "params.yaml", "dvc.lock")
    run(finished, "dvc", "checkout")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, copy_project: Callable[[Path], None]) -> Path:
    """A git checkout with the finished study, dvc.lock committed as in a user's own project."""
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    (folder / "params.yaml").write_text(tiny_study())
    (folder / ".gitignore").write_text("__pycache__/\n/data/\n/models/\n/runs/\n/results/\n/dvc_plots/\n")
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    run(folder, "git", "init", "-q")
    run(folder, sys.executable, "-m", "ssmlab", "repro")
    run(folder, "git", "add", ".")
    run(folder, "git", "commit", "-qm", "the study, run")
    return folder


def tiny_study() -> str:
    """The smoke study with two runs of one epoch and one attack."""
    from ruamel.yaml import YAML

    yaml = YAML()
    document = yaml.load((PROJECT / "studies" / "smoke.yaml").read_text())
    document["train"]["epochs"] = 1
    document["data"].update({"train": 200, "validation": 20, "test": 20})
    document["runs"] = {name: document["runs"][name] or {} for name in ("ssm", "ads")}
    document["attack"]["attacks"] = {"fgsm": document["attack"]["attacks"]["fgsm"]}
    document["attack"]["attacks"]["fgsm"]["images"] = "all"
    document["analyze"]["claims"] = []
    if "probe" in document:
        document["probe"]["images"] = 4
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()


def test_metrics_show_has_a_number_for_every_run_and_measure(study: Path) -> None:
    shown = json.loads(run(study, "dvc", "metrics", "show", "--json"))
    metrics = shown[""]["data"]["results/smoke/metrics.json"]["data"]
    assert set(metrics) == {"ssm", "ads"}
    for measures in metrics.values():
        assert {"clean", "fgsm", "ro_gap:fgsm"} <= set(measures)
        assert all(isinstance(value, float) for value in measures.values())


def test_plots_show_draws_curves_and_figures_without_an_error(study: Path) -> None:
    shown = json.loads(run(study, "dvc", "plots", "show", "--json"))
    assert not shown.get("errors")
    curves = {
        f"results/smoke/plots/{kind}/{run}.csv"
        for kind in ("learning", "accuracy-eps", "accuracy-steps")
        for run in ("ssm", "ads")
    }
    assert curves | {"results/smoke/figures/curves.png", "results/smoke/figures/tradeoff.png"} == set(shown["data"])


def test_an_experiment_is_run_compared_and_shown(study: Path) -> None:
    before = (study / "params.yaml").read_text()
    run(study, "dvc", "exp", "run", "-S", "train.epochs=3", "--name", "longer")
    after = (study / "params.yaml").read_text()
    assert after == before.replace("epochs: 1", "epochs: 3", 1)  # DVC writes params.yaml again, and changes one value
    changed = json.loads(run(study, "dvc", "params", "diff", "--json"))
    assert changed["params.yaml"]["train.epochs"] == {"old": 1, "new": 3, "diff": 2}
    metrics = json.loads(run(study, "dvc", "metrics", "diff", "--json", "--all"))
    assert "ads.clean" in metrics["results/smoke/metrics.json"]
    everything, changed = (
        next(row for row in csv.DictReader(io.StringIO(run(study, *command))) if row["Experiment"] == "longer")
        for command in (("dvc", "exp", "show", "--csv"), ("dvc", "exp", "show", "--only-changed", "--csv"))
    )
    assert everything["train.epochs"] == changed["train.epochs"] == "3"
    assert any(column.endswith("ads.clean") for column in everything)
    assert "data.seed" in everything and "data.seed" not in changed and len(changed) < len(everything) / 2


def test_an_experiment_in_a_temporary_folder_leaves_the_workspace_alone(study: Path) -> None:
    before = {name: (study / name).read_bytes() for name in ("params.yaml", "dvc.lock")}
    run(study, "dvc", "exp", "run", "--temp", "-S", "train.epochs=2", "--name", "aside")
    assert {name: (study / name).read_bytes() for name in before} == before
    table = csv.DictReader(io.StringIO(run(study, "dvc", "exp", "show", "--csv")))
    assert next(row for row in table if row["Experiment"] == "aside")["train.epochs"] == "2"


def test_a_queued_experiment_runs_beside_the_workspace_and_its_curves_are_compared(study: Path) -> None:
    before = {name: (study / name).read_bytes() for name in ("params.yaml", "dvc.lock")}
    run(study, "dvc", "exp", "run", "--queue", "-S", "train.epochs=2", "--name", "queued")
    waiting = run(study, "dvc", "queue", "status")
    assert "queued" in waiting and "Queued" in waiting
    run(study, "dvc", "queue", "start")
    end = time.monotonic() + 400
    while "Success" not in (now := run(study, "dvc", "queue", "status")) and time.monotonic() < end:
        assert "Failed" not in now, run(study, "dvc", "queue", "logs", "queued")
        time.sleep(1)
    assert "Success" in now, now
    assert {name: (study / name).read_bytes() for name in before} == before
    table = csv.DictReader(io.StringIO(run(study, "dvc", "exp", "show", "--csv")))
    assert next(row for row in table if row["Experiment"] == "queued")["train.epochs"] == "2"
    assert epochs_in_plot(study, "HEAD", "queued") == {"HEAD": {"1"}, "queued": {"1", "2"}}


def epochs_in_plot(study: Path, *revisions: str) -> dict[str, set[str]]:
    """The epochs of every revision in the one plot of learning curves that `dvc plots diff` draws of a run."""
    shown = json.loads(run(study, "dvc", "plots", "diff", *revisions, "--json"))
    assert not shown.get("errors")
    ((plot,),) = (plots for name, plots in shown["data"].items() if name.endswith("learning/ads.csv"))
    points = plot["content"]["data"]["values"]
    return {each: {point["epoch"] for point in points if point["rev"] == each} for each in revisions}


def test_a_clone_pulls_the_study_and_trains_nothing(study: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run(study, "dvc", "remote", "add", "--default", "--force", "shelf", str(tmp_path / "shelf"))
    run(study, "dvc", "push")
    run(study, "git", "add", ".dvc/config")
    run(study, "git", "commit", "-qm", "a remote")
    run(tmp_path, "git", "clone", "-q", str(study), str(clone))
    run(clone, "dvc", "pull")
    assert json.loads(run(clone, "dvc", "status", "--json")) == {}
    output = run(clone, sys.executable, "-m", "ssmlab", "repro")
    assert "Running stage" not in output
    for name in ("models/smoke/ads/best.safetensors", "results/smoke/metrics.json"):
        assert (clone / name).read_bytes() == (study / name).read_bytes()
    run(clone, sys.executable, "-m", "ssmlab", "verify")
