"""What a project of version 0.1 meets in this version: its models are used, and the rest is refused with the remedy.

`v0_1` is the project as commit a7b2d7b left it: a smaller cousin of the study `smoke`, trained, attacked and analysed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from ssmlab.artifacts.checkpoint import load
from ssmlab.cli.app import app
from ssmlab.data.dataset import load_dataset

OLD = Path(__file__).with_name("v0_1")
BEST = "models/smoke/ssm/best.safetensors"
PROBE = """
probe:
  device: cpu
  images: 4
  adversary: {eps: 0.1, alpha: 0.05, steps: 1, random_start: true}
  seed: 0
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old project in which the upgrade note's first step is done: params.yaml has a section `probe`."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    params = tmp_path / "params.yaml"
    params.write_text(params.read_text() + PROBE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ssmlab(command: str) -> Result:
    return CliRunner().invoke(app, command.split())


def test_a_model_of_0_1_classifies_every_image_as_it_did_then(project: Path) -> None:
    """The flags in 0.1's results, made by 0.1's code, are those of the model that this version builds."""
    assert ssmlab("prepare").exit_code == 0
    test = load_dataset(project / "data" / "smoke.safetensors").test
    for run in ("ssm", "ads"):
        results = json.loads((OLD / "results" / "smoke" / "attack" / f"{run}.json").read_text())
        for which in ("best", "last"):
            model, metadata = load(project / "models" / "smoke" / run / f"{which}.safetensors")
            images, labels = test.tensors()  # (100, 1, 28, 28), (100,)
            with torch.no_grad():
                right = model(images).argmax(1) == labels  # (100,)
            flags = "".join("1" if each else "0" for each in right.tolist())
            assert flags == results["checkpoints"][which]["measures"]["clean"]["flags"]
            assert metadata.code_version == "0.1.0"
            assert metadata.data_fingerprint == results["protocol"]["data"]["fingerprint"]


def test_a_checkpoint_file_of_0_1_is_attacked(project: Path) -> None:
    assert ssmlab("prepare").exit_code == 0
    done = ssmlab(f"attack {BEST} --eps 8/255 --attacks fgsm --images 10")
    assert done.exit_code == 0, done.output
    assert "fgsm" in done.output


def test_runs_of_0_1_are_listed_with_their_curves(project: Path) -> None:
    runs = {run["name"]: run for run in json.loads(ssmlab("runs --json").output)["rows"]}
    assert {name: (run["state"], run["epoch"], run["clean"]) for name, run in runs.items()} == {
        "ssm": ("finished", 2, 0.15),
        "ads": ("finished", 2, 0.08),
    }


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("compare ssm ads", "it has no digest, so it cannot be checked for damage); run `ssmlab attack ssm`"),
        ("analyze", "run `ssmlab attack ssm`"),
        ("report", "run `ssmlab analyze`"),
        ("probe ssm", "data/smoke.safetensors: there is no prepared data set; run `ssmlab prepare`"),
        ("export ssm --to exported", "models/smoke/ssm/manifest.json: not found (the list of the files of run ssm); "
         "run `ssmlab train ssm`"),
    ],
)  # fmt: skip
def test_other_files_of_0_1_are_refused_in_one_line_with_the_command_that_makes_them_again(
    project: Path, command: str, remedy: str
) -> None:
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    refused = ssmlab(command)
    assert refused.exit_code == 1
    assert refused.output.startswith("error: ") and refused.output.count("\n") == 1
    assert remedy in refused.output
    assert before == {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}


def test_params_of_0_1_are_refused_with_the_section_that_they_lack_and_where_it_can_be_copied_from(
    project: Path,
) -> None:
    shutil.copy(OLD / "params.yaml", project)
    refused = ssmlab("runs")
    assert refused.exit_code == 1
    assert refused.output == (
        "error: params.yaml: probe: this section is missing; copy it from a file in studies/, or run `ssmlab use`\n"
    )
