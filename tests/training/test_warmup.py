"""Eps warm-up."""

from __future__ import annotations

from itertools import islice

import pytest

from ssmlab.params import AdversaryParams
from ssmlab.training.warmup import warmed_up

FULL = AdversaryParams.model_validate({"eps": "8/255", "alpha": "2/255", "steps": 7, "random_start": True})


def test_grows_linearly_from_nothing_to_everything() -> None:
    ramp = list(islice(warmed_up(FULL, 4), 6))
    assert [float(each.eps) * 255 / 8 for each in ramp] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert [float(each.alpha) * 255 / 2 for each in ramp] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert {(each.steps, each.random_start) for each in ramp} == {(7, True)}
    assert ramp[4] == ramp[5] == FULL


def test_none_is_the_whole_adversary_at_once() -> None:
    assert list(islice(warmed_up(FULL, 0), 3)) == [FULL] * 3
