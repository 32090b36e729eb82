"""The losses of ten steps of every regime with every mixer, recorded when the trainings had been checked.

A refactor must not change any of them beyond rounding. A change that is meant to alter trainings is followed by

    OMP_NUM_THREADS=1 python tests/training/test_golden_losses.py

which rewrites golden_losses.json; its diff shows which regimes and mixers have moved.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from ssmlab.data.dataset import Split, make_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.nets.build import build
from ssmlab.params import ModelParams, TrainParams
from ssmlab.project.params_file import merged
from ssmlab.training.events import StepDone
from ssmlab.training.loop import fit

GOLDEN = Path(__file__).with_name("golden_losses.json")

MODEL = {
    "mixer": "s4",
    "enhancement": "none",
    "tokens": "raster",
    "patch": 2,
    "d_model": 8,
    "d_state": 8,
    "layers": 2,
    "pointwise": "gelu",
    "output": "linear",
    "dropout": 0.0,
}
MIXERS: dict[str, dict[str, Any]] = {
    "s4": {"mixer": "s4"},
    "dss": {"mixer": "dss"},
    "mega": {"mixer": "mega", "pointwise": "none", "mega": {"z": 4, "hidden": 8, "ffn": 8, "ema": 2}},
}
ADVERSARY = {"norm": "linf", "eps": 0.1, "alpha": 0.03, "steps": 3, "random_start": True}
TRAIN = {
    "device": "cpu",
    "regime": "pgd_at",
    "epochs": 2,
    "batch_size": 16,
    "adversary": ADVERSARY,
    "warmup": 1,
    "optimizer": {"lr": 5e-3, "ssm_lr": 1e-3, "weight_decay": 2e-4, "schedule": "cosine"},
    "selection": {"split": "validation", "by": "robust", "adversary": ADVERSARY},
    "augment": {"crop": 1, "flip": True},
    "seed": 0,
}
REGIMES: dict[str, dict[str, Any]] = {
    "standard": {"regime": "standard"},
    "standard, smoothed labels": {"regime": "standard", "label_smoothing": 0.1},
    "jacobian": {"regime": "jacobian", "jacobian": {"weight": 0.1, "projections": 1}},
    "pgd_at": {},
    "pgd_at, l2": {"adversary": {"norm": "l2", "eps": 1.0, "alpha": 0.3}},
    "pgd_at, cyclic": {"optimizer": {"schedule": "cyclic"}},
    "pgd_at, awp": {"awp": {"gamma": 0.005}},
    "trades": {"regime": "trades", "trades": {"beta": 6.0}},
    "trades, awp": {"regime": "trades", "trades": {"beta": 6.0}, "awp": {"gamma": 0.005}},
    "mart": {"regime": "mart", "mart": {"beta": 5.0}},
    "free": {
        "regime": "free",
        "free": {"replays": 2},
        "adversary": {"alpha": 0.1, "steps": 1, "random_start": False},
    },
    "yopo": {"regime": "yopo", "yopo": {"propagations": 2}},
    "fgsm": {"regime": "fgsm", "fgsm": {"noise": 1.0, "clip": True}, "adversary": {"alpha": 0.125, "steps": 1}},
    "n-fgsm": {"regime": "fgsm", "fgsm": {"noise": 2.0, "clip": False}, "adversary": {"alpha": 0.1, "steps": 1}},
}


@cache
def golden() -> dict[str, dict[str, list[float]]]:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


def losses(regime: str, mixer: str) -> list[float]:
    """The running mean of the loss after each of 10 steps: 2 epochs of 5 batches."""
    draw = torch.Generator().manual_seed(1)

    def split(count: int) -> Split:
        pixels = torch.randint(256, (count, 1, 8, 8), generator=draw, dtype=torch.uint8)
        return Split(pixels, (to_unit(pixels).mean((1, 2, 3)) * 30).long() % 3, torch.arange(count))

    dataset = make_dataset("golden", 3, {"train": split(75), "validation": split(4), "test": split(4)})
    model = build(ModelParams.model_validate(MODEL | MIXERS[mixer]), (1, 8, 8), 3, seed=0)
    params = TrainParams.model_validate(merged(TRAIN, REGIMES[regime]))
    events = fit(model, dataset, params, torch.device("cpu"))
    return [round(event.loss, 7) for event in events if isinstance(event, StepDone)]


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("regime", REGIMES)
def test_ten_steps_have_the_losses_they_had(regime: str, mixer: str) -> None:
    """Other machines round differently, and a gradient near zero may change its sign, so there is a tolerance."""
    assert losses(regime, mixer) == pytest.approx(golden()[regime][mixer], rel=1e-4)


def test_no_two_regimes_have_the_same_losses() -> None:
    """A regime that is never used would repeat the losses of another."""
    for mixer in MIXERS:
        assert len({tuple(golden()[regime][mixer]) for regime in REGIMES}) == len(REGIMES)
    assert golden().keys() == REGIMES.keys()


if __name__ == "__main__":
    table = {regime: {mixer: losses(regime, mixer) for mixer in MIXERS} for regime in REGIMES}
    lines = (
        f"  {json.dumps(regime)}: {{\n"
        + ",\n".join(f"    {json.dumps(mixer)}: {json.dumps(values)}" for mixer, values in row.items())
        + "\n  }"
        for regime, row in table.items()
    )
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
