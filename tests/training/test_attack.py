"""The settings of an attack."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ssmlab.core.errors import UserError
from ssmlab.params import AdversaryParams
from ssmlab.training.attack import Attack, attack_from


def test_an_attack_is_written_as_in_papers_and_starts_at_random_in_the_l_inf_ball() -> None:
    attack = Attack(eps=8 / 255, alpha=2 / 255, steps=10)
    assert (attack.norm, attack.random_start) == ("linf", True)


def test_params_become_floats_once() -> None:
    written = {"norm": "l2", "eps": "8/255", "alpha": "2/255", "steps": 3, "random_start": False}
    attack = attack_from(AdversaryParams.model_validate(written))
    assert attack == Attack(8 / 255, 2 / 255, 3, "l2", random_start=False)
    assert type(attack.eps) is type(attack.alpha) is float


GOOD: dict[str, Any] = {"eps": 0.1, "alpha": 0.02, "steps": 3}


@pytest.mark.parametrize(
    "values",
    [
        {"eps": 0},
        {"eps": 1},
        {"eps": np.float32(0.1)},
        {"eps": 3.0, "norm": "l2"},
        {"alpha": 0.0},
        {"alpha": 2.0},
        {"steps": 0},
    ],
)
def test_every_meaningful_value_is_accepted(values: dict[str, Any]) -> None:
    Attack(**GOOD | values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"eps": -0.1}, "eps must be a number, at least 0, such as 8/255; it is -0.1"),
        ({"eps": 8}, "eps must be at most 1, as pixels are in .0, 1.; is 8/255 meant"),
        ({"eps": "8/255"}, "eps must be a number.*it is '8/255'"),
        ({"eps": math.nan}, "eps must be a number"),
        ({"eps": True}, "eps must be a number"),
        ({"alpha": -1}, "alpha must be a number"),
        ({"alpha": math.inf}, "alpha must be a number"),
        ({"steps": -1}, "steps must be a whole number, at least 0; it is -1"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        ({"norm": "l1"}, "norm must be one of linf, l2; it is 'l1'"),
    ],
)
def test_any_other_value_is_refused_in_one_line_that_names_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Attack(**GOOD | values)
    assert "\n" not in str(caught.value)


def test_a_scaled_attack_keeps_everything_but_eps_and_alpha() -> None:
    attack = Attack(0.5, 0.25, 7, "l2", random_start=False)
    assert attack.scaled(0.5) == Attack(0.25, 0.125, 7, "l2", random_start=False)
