"""Fixtures: toy data, a run of three short epochs on them, and what it publishes if nothing interrupts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssmlab.data.dataset import Dataset, make_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.train.stage import train
from tests.stages.train.toy_training import (
    EPOCHS,
    RUN,
    new_paths,
    outcome,
    split,
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset("toy", 3, {"train": split(60, 0), "validation": split(20, 1), "test": split(20, 2)})


@pytest.fixture
def params(tiny_params: Params) -> Params:
    run = tiny_params.run(RUN)
    settings = run.train.model_copy(update={"epochs": EPOCHS, "batch_size": 20})
    model = run.model.model_copy(update={"dropout": 0.2, "layers": 1})
    return tiny_params.model_copy(update={"runs": {RUN: run.model_copy(update={"train": settings, "model": model})}})


@pytest.fixture
def paths(tmp_path: Path, dataset: Dataset, params: Params) -> Paths:
    return new_paths(tmp_path / "here", dataset, params)


@pytest.fixture
def whole(tmp_path: Path, dataset: Dataset, params: Params) -> dict[str, Any]:
    """The result of a training that is not interrupted."""
    paths = new_paths(tmp_path / "in peace", dataset, params)
    train(params, RUN, paths)
    assert len({file.read_bytes() for file in paths.model(RUN).glob("*.safetensors")}) == 2
    return outcome(paths)
