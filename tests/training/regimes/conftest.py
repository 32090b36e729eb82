"""Fixtures of the regimes' tests: shared settings of training, and equal new models."""

from __future__ import annotations

from typing import Any

import pytest

from ssmlab.nets.build import build
from ssmlab.params import Params, TrainParams
from tests.training.regimes.material import CLASSES, SHAPE


@pytest.fixture
def shared(tiny_params: Params) -> TrainParams:
    return tiny_params.run("ads").train


@pytest.fixture
def new_model(tiny_params: Params) -> Any:
    return lambda: build(tiny_params.run("ads").model, SHAPE, CLASSES, 0)
