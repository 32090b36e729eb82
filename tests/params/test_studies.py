"""The studies that come with ssmlab: each can be used as it is, and is what docs/studies.md says it is."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import ssmlab
from ssmlab.data.dataset import load_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.ingest.catalog import CATALOG
from ssmlab.nets import build
from ssmlab.params import DataParams, ModelParams, Params, RunParams
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
from ssmlab.stages.prepare import prepare
from ssmlab.stages.train.stage import train

STUDIES = Path(__file__).resolve().parents[2] / "studies"
PAPER = ("paper-mnist", "paper-cifar10", "paper-tiny-imagenet")


@cache
def study(name: str) -> Params:
    return load_params(STUDIES / f"{name}.yaml")


def shape_of(data: DataParams) -> tuple[int, int, int]:
    channels, height, width = CATALOG[data.name].image_shape
    return data.channels or channels, data.size or height, data.size or width


def parameters(model: ModelParams, data: DataParams) -> int:
    """How many numbers the model of a study trains."""
    classes = data.classes or CATALOG[data.name].classes
    return sum(p.numel() for p in build(model, shape_of(data), classes, seed=0).parameters() if p.requires_grad)


@pytest.mark.parametrize("name", sorted(path.stem for path in STUDIES.glob("*.yaml")))
def test_every_study_loads_expands_and_builds(name: str) -> None:
    params = study(name)
    assert params.study == name  # `ssmlab use` needs it
    for model in {run.model.fingerprint(): run.model for run in params.runs.values()}.values():
        assert parameters(model, params.data) > 0


def counts_in_the_docs() -> dict[str, int]:
    """The runs of every study that a row of the first table of docs/studies.md names."""
    text = (STUDIES.parent / "docs" / "studies.md").read_text(encoding="utf-8")
    found: dict[str, int] = {}
    for line in text.partition("\n## ")[0].splitlines():
        cells = line.strip("|").split("|")
        names = [name for name in re.findall(r"`([^`]+)`", cells[0]) if (STUDIES / f"{name}.yaml").exists()]
        if line.startswith("| `") and names:
            counts = [int(count) for count in re.findall(r"\d+", cells[2])]
            found |= zip(names, counts * len(names) if "each" in cells[2] else counts, strict=True)
    return found


def test_docs_studies_counts_the_runs_of_the_studies_it_names() -> None:
    counts = counts_in_the_docs()
    assert len(counts) > 15
    assert counts == {name: len(study(name).runs) for name in counts}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("paper-mnist", {"s4": 44_202, "dss": 44_106, "s5": 134_410, "mega": 163_464, "s4-ads": 110_250}),
        ("paper-cifar10", {"s4": 103_562, "dss": 103_178, "s5": 267_274, "mega": 903_686, "s4-ads": 235_658}),
    ],
)
def test_models_of_the_published_flavour_have_the_published_sizes(name: str, counts: dict[str, int]) -> None:
    params = study(name)
    assert {each: parameters(params.runs[f"{each}-pgd"].model, params.data) for each in counts} == counts


@pytest.mark.parametrize("name", PAPER)
def test_a_paper_study_is_seven_models_in_five_regimes(name: str) -> None:
    models = ("s4", "dss", "s5", "mamba", "mega", "s4-ads", "dss-ads")
    regimes = {"standard": "standard", "pgd": "pgd_at", "trades": "trades", "free": "free", "yopo": "yopo"}
    runs = study(name).runs
    assert list(runs) == [f"{model}-{regime}" for model in models for regime in regimes]
    for each, run in runs.items():
        assert run.train.regime == regimes[each.rsplit("-", 1)[1]]


def outcome(run: RunParams) -> dict[str, Any]:
    """A run's settings except those that the corrected flavour changes: tokens, nonlinearity, selection, warm-up."""
    said = run.plain()
    for section, keys in (("model", ("tokens", "pointwise")), ("train", ("warmup",))):
        for key in keys:
            del said[section][key]
    del said["train"]["selection"]["split"]
    return said


@pytest.mark.parametrize("name", PAPER)
def test_the_flavours_differ_in_what_is_corrected_and_in_nothing_else(name: str) -> None:
    published, corrected = study(name), study(f"{name}-corrected")
    for run in published.runs.values():
        assert (run.model.tokens, run.model.pointwise, run.model.output) == ("published", "none", "linear")
        assert (run.train.selection.split, run.train.warmup) == ("test", 0)
    for each, run in corrected.runs.items():
        curved = not each.startswith("s4-affine") and run.model.mixer not in ("mamba", "mega")
        assert (run.model.tokens, run.model.pointwise) == ("raster", "gelu" if curved else "none")
        assert run.train.selection.split == "validation"
    assert published.data.validation == 0 < corrected.data.validation
    assert published.data.model_copy(update={"validation": corrected.data.validation}) == corrected.data

    for each, run in published.runs.items():
        if each.endswith("-free"):  # its eps and its epochs are corrected too
            assert (float(run.train.adversary.eps), run.train.replays) == (4 / 255, 4)
            assert run.train.passes == corrected.runs[f"{each}-s0"].train.epochs
        else:
            assert outcome(run) == outcome(corrected.runs[f"{each}-s0"])


@pytest.mark.parametrize("name", PAPER)
def test_the_corrected_flavour_has_a_control_of_each_kind_and_three_seeds(name: str) -> None:
    params = study(f"{name}-corrected")
    assert {run.train.seed for run in params.runs.values()} == {0, 1, 2}
    assert len(params.runs) == 9 * 5 * 3
    sizes = {
        each: parameters(params.runs[f"{each}-pgd-s0"].model, params.data)
        for each in ("s4", "s4-affine", "s4-ads", "s4-attention", "mega")
    }
    assert sizes["s4"] == sizes["s4-affine"]
    assert sizes["s4-ads"] < sizes["s4-attention"] < 1.4 * sizes["s4-ads"]
    assert sizes["mega"] > 1.4 * sizes["s4-ads"]
    affine = params.runs["s4-affine-pgd-s0"].model
    assert affine.model_copy(update={"pointwise": "gelu"}) == params.runs["s4-pgd-s0"].model


REAL = {  # of each study for the slow test: where its images are in ../shared, how many it takes, and the epochs
    "mnist-small": ("mnist", {"train": 6000, "validation": 100, "test": 500}, 3),
    "cifar10-small": ("cifar10-jpeg.tar.xz", {"train": 4000, "validation": 100, "test": 500}, 3),
    "tiny-imagenet-small": ("tiny-imagenet-200-first50.zip", {"train": 4000, "validation": 100, "test": 500}, 5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_a_short_adversarial_training_beats_chance(name: str, shared: Path, tmp_path: Path) -> None:
    """By five standard deviations of a guesser's count, against PGD-10 of torchattacks at the eps of the study."""
    archive, images, epochs = REAL[name]
    params, paths = study(name), Paths(name, tmp_path)
    data = params.data.model_copy(update={"source": str(shared / "data" / archive), **images})
    run = params.runs["ads"]
    short = run.model_copy(update={"train": run.train.model_copy(update={"epochs": epochs})})
    params = params.model_copy(update={"data": data, "runs": {"ads": short}})
    prepare(params, paths)
    train(params, "ads", paths)

    model, _ = ssmlab.load(paths.checkpoint("ads", "best"))
    dataset = load_dataset(paths.prepared)
    x, y = to_unit(dataset.test.images), dataset.test.labels
    result = ssmlab.evaluate(model, x, y, attacks=["pgd-10"], eps=params.attack.eps)
    chance = 1 / dataset.classes
    bound = chance + 5 * (chance * (1 - chance) / len(y)) ** 0.5
    robust, clean = result.measures["pgd-10"].accuracy, result.measures["clean"].accuracy
    assert clean >= robust > bound
