"""Eps warm-up."""

from __future__ import annotations

from itertools import islice

import pytest

from ssmlab.training.attack import Attack
from ssmlab.training.warmup import warmed_up

FULL = Attack(eps=8 / 255, alpha=2 / 255, steps=7)


def test_eps_and_alpha_grow_linearly_from_nothing_to_their_full_strength() -> None:
    ramp = list(islice(warmed_up(FULL, 4), 6))
    assert [each.eps * 255 / 8 for each in ramp] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert [each.alpha * 255 / 2 for each in ramp] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert {(each.steps, each.norm, each.random_start) for each in ramp} == {(7, "linf", True)}
    assert ramp[4] == ramp[5] == FULL


def test_a_warm_up_continues_where_a_training_resumes() -> None:
    assert list(islice(warmed_up(FULL, 4, first=2), 3)) == list(islice(warmed_up(FULL, 4), 5))[2:]


def test_without_a_warm_up_the_attack_has_its_full_strength_at_once() -> None:
    assert list(islice(warmed_up(FULL, 0), 3)) == [FULL] * 3
