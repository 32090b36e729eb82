"""The labels of models, regimes and provenances for readers."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from ssmlab.analysis.format import PROVENANCES, model_label, regime_label, signed
from ssmlab.data.header import DataProvenance
from ssmlab.params import ModelParams
from ssmlab.project.params_file import load_params


def test_regimes_that_learn_differently_are_called_differently() -> None:
    study = load_params(Path(__file__).parents[2] / "studies" / "regimes.yaml")
    first = {name: study.runs[runs[0]] for name, runs in study.groups.items()}
    labels = {name.removeprefix("ads-"): regime_label(run.train) for name, run in first.items() if "ads-" in name}
    assert labels == {
        "standard": "standard",
        "jacobian": "Jacobian (weight 0.01)",
        "pgd": "PGD-7 AT",
        "pgd-awp": "PGD-7 AT + AWP",
        "pgd-ema": "PGD-7 AT + EMA",
        "pgd-smooth": "PGD-7 AT + label smoothing",
        "pgd-cyclic": "PGD-7 AT, cyclic learning rate",
        "pgd-stop": "PGD-7 AT, patience 2",
        "pgd-l2": "PGD-7 AT, L2",
        "trades": "TRADES (beta 6)",
        "trades-awp": "TRADES (beta 6) + AWP",
        "mart": "MART (beta 5)",
        "free": "Free-2 AT",
        "yopo": "YOPO-5-3",
        "fgsm": "FGSM-RS AT",
        "n-fgsm": "N-FGSM AT",
    }


def test_every_provenance_has_a_description() -> None:
    assert set(PROVENANCES) == set(get_args(DataProvenance))


def test_a_difference_that_rounds_to_zero_has_no_sign() -> None:
    shown = [signed(fraction) for fraction in (-0.0006, -0.0004, -0.0, 0.0, 0.0004, 0.0006)]
    assert shown == ["-0.1", "0.0", "0.0", "0.0", "0.0", "+0.1"]


def test_a_model_without_layer_norm_is_not_labelled_as_one_with_it() -> None:
    settings = {
        "mixer": "s4", "enhancement": "none", "tokens": "raster", "patch": 1, "d_model": 8, "d_state": 4, "layers": 1,
        "pointwise": "gelu", "output": "linear", "dropout": 0.0,
    }  # fmt: skip
    labels = [model_label(ModelParams.model_validate(settings | {"norm": norm})) for norm in ("layer", "none")]
    assert labels == ["S4 + GELU", "S4 without LayerNorm + GELU"]


def test_the_label_of_adaptive_scaling_names_its_settings() -> None:
    ads = [("relu", part) for part in ("both", "scale", "bias", "constant", "sum")] + [("none", "both")]
    settings = {
        "mixer": "s4", "enhancement": "ads", "tokens": "raster", "patch": 1, "d_model": 8, "d_state": 4, "layers": 1,
        "pointwise": "none", "output": "linear", "dropout": 0.0,
    }  # fmt: skip
    models = [ModelParams.model_validate(settings | {"ads": {"act": act, "parts": part}}) for act, part in ads]
    assert [model_label(model).removeprefix("S4 + ") for model in models] == [
        "AdS (relu)", "AdS (relu, scale only)", "AdS (relu, bias only)", "AdS (relu, constant)", "AdS (relu, sum)",
        "AdS (no activation)",
    ]  # fmt: skip
