"""New parameters have the distributions that the heads of the files describe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn
from torch.nn.functional import softplus

from ssmlab.nets import Classifier, build
from ssmlab.params import ModelParams
from tests.nets.tiny_models import BASE, CHANGES

SIZES = {"d_model": 96, "d_state": 64}  # enough values for a test of their distribution
MODELS: dict[str, dict[str, Any]] = {
    **{name: CHANGES[name] for name in ("s4", "s4d", "dss", "s5", "mamba")},
    "mega": {"mixer": "mega", "mega": {"z": 64, "hidden": 64, "ffn": 64, "ema": 64}},
}


def new_model(name: str) -> Classifier:
    """A new model of one layer on 64 tokens."""
    return build(ModelParams.model_validate(BASE | SIZES | MODELS[name]), (1, 8, 8), 10, seed=0)


def normal(deviation: float) -> Callable[[Tensor], float]:
    """The p-value of the hypothesis that the values are normal with mean 0 and this standard deviation."""
    return lambda values: float(kstest(values.flatten().double().numpy(), "norm", (0.0, deviation)).pvalue)


def uniform(low: float, high: float) -> Callable[[Tensor], float]:
    """The p-value of the hypothesis that the values are uniform between the two ends; 0 if one is outside them."""

    def p_value(values: Tensor) -> float:
        inside = bool(((values > low - 1e-4) & (values < high + 1e-4)).all())
        return float(kstest(values.flatten().double().numpy(), "uniform", (low, high - low)).pvalue) if inside else 0.0

    return p_value


LOG_DT = uniform(math.log(1e-3), math.log(1e-1))
DISTRIBUTIONS: list[tuple[str, str, Callable[[Tensor], float]]] = [
    ("s4", "log_dt", LOG_DT),
    ("s4d", "log_dt", LOG_DT),
    ("dss", "log_dt", LOG_DT),
    ("s5", "log_dt", LOG_DT),
    ("mamba", "dt_proj.bias", lambda bias: LOG_DT(softplus(bias).log())),
    ("s4", "skip", normal(1.0)),
    ("s5", "skip", normal(1.0)),
    ("dss", ".C", normal(math.sqrt(0.5))),  # a complex normal: real and imaginary parts
    ("s4d", ".C", normal(math.sqrt(0.5))),
    ("s5", ".C", normal(math.sqrt(0.5))),
    ("s5", ".B", normal(math.sqrt(0.5 / 96))),  # a unitary map of a normal matrix with variance 1 / D
    ("mamba", "conv1d.weight", uniform(-0.5, 0.5)),  # 1 / sqrt(4 taps)
    ("mamba", "dt_proj.weight", uniform(-1 / math.sqrt(6), 1 / math.sqrt(6))),  # rank 96 / 16
    ("mega", "ema.alpha", normal(0.2)),
    ("mega", "ema.delta", normal(0.2)),
    ("mega", "ema.beta", lambda beta: normal(0.02)(beta - torch.tensor([1.0, -1.0]).repeat(32))),
    ("mega", "ema.gamma", normal(1.0)),
    ("mega", "ema.omega", normal(1.0)),
    ("mega", "kappa", normal(0.02)),
    ("mega", "bias.table", normal(0.02)),
    ("mega", "update.weight", normal(0.02)),
    ("mega", "into.weight", normal(0.02)),
]


@pytest.mark.parametrize(("name", "parameter", "p_value"), DISTRIBUTIONS)
def test_a_new_parameter_has_its_documented_distribution(
    name: str, parameter: str, p_value: Callable[[Tensor], float]
) -> None:
    model: nn.Module = new_model(name)
    (values,) = (value for found, value in model.named_parameters() if found.endswith(parameter))
    assert p_value(values.detach()) > 1e-3


def test_the_output_map_of_a_new_s4_is_a_complex_normal() -> None:
    """What is stored is corrected for the length; the realisation has 2 Re C and -2 Im C."""
    kernel = new_model("s4").layers[0].mixer.ssm.kernel
    assert normal(math.sqrt(2.0))(kernel.realisation(64).C.detach()) > 1e-3
