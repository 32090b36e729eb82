"""`ssmlab attack FILE --eps ...`, and comparing checkpoint files, in a folder that is no project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import ssmlab
from ssmlab.artifacts.checkpoint import save
from ssmlab.cli.app import app
from ssmlab.data.dataset import Split, make_dataset, save_dataset
from ssmlab.nets.build import build
from ssmlab.params import Params
from tests.artifacts.trained_metadata import trained_metadata

SHAPE, CLASSES = (1, 28, 28), 3


def split(n: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, *SHAPE), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(n) % CLASSES, torch.arange(n))


@pytest.fixture
def folder(tmp_path: Path, tiny_params: Params, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a checkpoint and a prepared data set, and no params.yaml."""
    settings = tiny_params.run("ads")
    metadata = trained_metadata(settings, classes=CLASSES, data_name="tiny")
    save(tmp_path / "ads.safetensors", build(settings.model, SHAPE, CLASSES, 0), metadata)
    splits = {name: split(12, seed) for seed, name in enumerate(("train", "validation", "test"))}
    save_dataset(tmp_path / "tiny.safetensors", make_dataset("tiny", CLASSES, splits))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_checkpoint_is_attacked_without_a_project_as_evaluate_does(folder: Path) -> None:
    options = ("--eps", "8/255", "--attacks", "fgsm,pgd-3", "--images", "9", "--data", "tiny.safetensors")
    document = json.loads(run("attack", "ads.safetensors", *options, "--format", "json"))
    model, _ = ssmlab.load("ads.safetensors")
    x, y = ssmlab.load_data("tiny.safetensors").test.tensors(9)
    expected = ssmlab.evaluate(model, x, y, attacks=["fgsm", "pgd-3"], eps="8/255")  # type: ignore[arg-type]
    assert {row["attack"]: row["correct"] for row in document["rows"]} == {
        name: measure.correct for name, measure in expected.measures.items()
    }
    assert {(row["norm"], row["eps"]) for row in document["rows"]} == {("", ""), ("linf", "8/255")}
    assert "pgd-3" in run("attack", "ads.safetensors", *options) and sorted(folder.iterdir()) == [
        folder / "ads.safetensors",
        folder / "tiny.safetensors",
    ]


def test_a_checkpoint_is_attacked_in_l2(folder: Path) -> None:
    options = ("--eps", "0.5", "--norm", "l2", "--attacks", "pgd-3,fmn", "--data", "tiny.safetensors")
    rows = json.loads(run("attack", "ads.safetensors", *options, "--format", "json"))["rows"]
    model, _ = ssmlab.load("ads.safetensors")
    x, y = ssmlab.load_data("tiny.safetensors").test.tensors()
    expected = ssmlab.evaluate(model, x, y, attacks=["pgd-3", "fmn"], eps=0.5, norm="l2")
    assert [(row["attack"], row["correct"]) for row in rows] == [
        (name, measure.correct) for name, measure in expected.measures.items()
    ]
    assert [(row["norm"], row["eps"]) for row in rows] == [("", ""), ("l2", "0.5"), ("l2", "0.5")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ads", "--eps", "0.1", "--data", "tiny.safetensors"), "--eps 0.1: it is for checkpoint files"),
        (("ads", "--recheck", "kept"), "params.yaml: not found"),
        (("ads", "--save-adversarials", "kept", "--images", "3"), "--images 3: give --eps and a checkpoint file too"),
        (("ads.safetensors", "--recheck", "kept"), "kept: no adversarial images there"),
        (("ads.safetensors", "--recheck", "kept", "--eps", "1"), "--eps 1: leave it out with --recheck"),
        (("ads.safetensors", "--save-adversarials", "kept"), "--save-adversarials kept: give --eps"),
        (("ads.safetensors", "--norm", "l2"), "--norm l2: give --eps and a checkpoint file too"),
        (("ads.safetensors", "--images", "9", "--attacks", "fgsm"), "--attacks fgsm, --images 9: give --eps"),
        (("ads", "--data", "tiny.safetensors"), "--data tiny.safetensors: give --eps"),
        (("ads", "--format", "csv"), "--format csv: give --eps"),
        (("nowhere/best.safetensors",), "nowhere/best.safetensors: no such checkpoint"),
        (("best.safetensors", "--eps", "0.1"), "best.safetensors: no such checkpoint"),
        (("ads.safetensors", "--eps", "x", "--data", "tiny.safetensors"), "--eps x: a number or a fraction"),
        (("ads.safetensors", "--eps", "0.1", "--attacks", "pgd", "--data", "tiny.safetensors"), "pgd"),
        (("ads.safetensors", "--eps", "0.1", "--images", "13", "--data", "tiny.safetensors"), "13"),
        (("ads.safetensors", "--eps", "0.1", "--data", "nowhere.safetensors"), "nowhere.safetensors"),
        (("ads.safetensors", "--eps", "0.1"), "name a prepared data set with --data"),
        (
            ("ads.safetensors",),
            "ads.safetensors: there is no params.yaml here with attack settings; give --eps and --data",
        ),
    ],
)
def test_a_checkpoint_and_data_that_do_not_fit_are_refused_in_one_line(
    folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = CliRunner().invoke(app, ["attack", *arguments])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert says in result.stderr


def test_kept_images_are_judged_again_by_a_fresh_process(folder: Path) -> None:
    options = ("--eps", "8/255", "--attacks", "fgsm,pgd-3", "--data", "tiny.safetensors", "--save-adversarials", "kept")
    run("attack", "ads.safetensors", *options)
    again = [sys.executable, "-m", "ssmlab", "attack", "ads.safetensors", "--recheck", "kept"]
    result = subprocess.run(again, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["fgsm", "pgd-3"]
    assert all(line[1] == line[5] and line[3] == "12" for line in lines)


def test_checkpoint_files_are_compared_without_params_yaml(folder: Path) -> None:
    (folder / "other.safetensors").write_bytes((folder / "ads.safetensors").read_bytes())
    output = run("compare", "ads.safetensors", "other.safetensors", "--format", "md")
    assert "parameters" in output
    result = CliRunner().invoke(app, ["compare", "ads", "other.safetensors"])
    assert result.exit_code == 1 and "params.yaml: not found" in result.stderr
