"""A regime's settings: those that contradict it are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ssmlab.params import Params
from ssmlab.project.params_file import parse_params
from tests.params.smoke import changed, problem

FREE = {"regime": "free", "free": {"replays": 2}, "adversary": {"steps": 1, "random_start": False}}


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"regime": "trades"}, "`trades` is needed if `regime` is trades, and not allowed otherwise"),
        ({"trades": {"beta": 6.0}}, "`trades` is needed if `regime` is trades, and not allowed otherwise"),
        ({"regime": "yopo", "yopo": {"propagations": 0}}, "propagations"),
        ({"regime": "nope"}, "regime"),
        ({"regime": "mart", "mart": {"beta": 5.0}, "awp": {"gamma": 0.005}}, "`awp`"),
        ({"regime": "mart", "mart": {"beta": 5.0}, "label_smoothing": 0.1}, "`label_smoothing`"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"averaging": {"decay": 1.0}}, "averaging.decay"),
        ({"patience": 0}, "patience"),
        (FREE | {"adversary": {"steps": 2, "random_start": False}}, "`adversary.steps` to 1"),
        (
            FREE | {"adversary": {"steps": 1}},
            "`regime` free does not start at random: set `adversary.random_start` to false",
        ),
        (FREE | {"epochs": 3}, "`free.replays` 2 must divide `epochs` 3"),
        ({"regime": "fgsm", "fgsm": {"noise": 1.0, "clip": True}}, "`adversary.steps` to 1"),
        (
            {"regime": "trades", "trades": {"beta": 6.0}, "adversary": {"random_start": False}},
            "`adversary.random_start` to true",
        ),
        ({"adversary": {"norm": "l1"}}, "adversary.norm"),
    ],
)
def test_settings_that_contradict_the_regime_are_refused(train: dict[str, Any], said: str) -> None:
    text = problem(("runs.ads.train", train))
    assert "runs.ads" in text
    assert said in text


def test_valid_regimes_are_accepted() -> None:
    params = parse_params(changed(("runs.ads.train", FREE), ("train.adversary.norm", "l2")), "x")
    train = params.run("ads").train
    assert (train.replays, train.passes, train.adversary.norm, train.adversarial) == (2, 1, "l2", True)
    assert train.selection.adversary.norm == "linf"
    shared = params.run("ssm").train
    assert (shared.replays, shared.passes) == (1, 2)
    assert Params.model_validate(params.plain()) == params
