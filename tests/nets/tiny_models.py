"""One tiny model of every mixer and of every part that a layer may have."""

from __future__ import annotations

from typing import Any

from ssmlab.nets import Classifier, build
from ssmlab.params import ModelParams

BASE: dict[str, Any] = {
    "mixer": "s4", "enhancement": "none", "tokens": "raster", "patch": 1, "d_model": 8, "d_state": 4, "layers": 1,
    "pointwise": "none", "output": "linear", "dropout": 0.0,
}  # fmt: skip
CHANGES: dict[str, dict[str, Any]] = {
    "s4": {},
    "s4, gelu and glu": {"pointwise": "gelu", "output": "glu"},
    "s4, both ways": {"bidirectional": True},
    "s4 and ads": {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}},
    "s4 and attention": {"enhancement": "attention"},
    "s4d": {"mixer": "s4d", "s4d": {"discretisation": "zoh", "initial": "lin"}},
    "dss": {"mixer": "dss"},
    "s5": {"mixer": "s5"},
    "mamba": {"mixer": "mamba"},
    "mega": {"mixer": "mega", "mega": {"z": 4, "hidden": 8, "ffn": 8, "ema": 2}},
}


def tiny_model(name: str, shape: tuple[int, int, int], layers: int, seed: int = 0) -> Classifier:
    """The model called `name` in CHANGES, for images of `shape` and 5 classes."""
    params = ModelParams.model_validate(BASE | {"layers": layers} | CHANGES[name])
    return build(params, shape, 5, seed=seed)
