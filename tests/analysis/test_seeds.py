"""Means, deviations and intervals over seeds against NumPy, SciPy, closed forms and a simulation."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.simulate_verdicts import by_seeds, settled_rate
from ssmlab.analysis.intervals import paired, paired_gaps
from ssmlab.analysis.seeds import Flags, Spread, over_images, over_seeds, value_of

values = st.lists(st.floats(0, 1), min_size=2, max_size=9)


@settings(deadline=None, max_examples=25)
@given(values)
def test_spread_is_numpys_and_the_standard_librarys(given_values: list[float]) -> None:
    found = Spread.of(given_values)
    assert found.n == len(given_values)
    assert found.mean == pytest.approx(np.mean(given_values))
    assert found.std == pytest.approx(np.std(given_values, ddof=1), abs=1e-12)
    assert found.std == pytest.approx(statistics.stdev(given_values), abs=1e-12)


def test_spread_agrees_with_closed_forms() -> None:
    two = Spread.of([0.4, 0.5])
    assert (two.mean, two.std) == (pytest.approx(0.45), pytest.approx(0.1 / math.sqrt(2)))
    even = Spread.of([0.1 * k for k in range(1, 6)])  # k steps of d: variance d^2 k (k + 1) / 12
    assert even.std == pytest.approx(0.1 * math.sqrt(5 * 6 / 12))
    assert Spread.of([0.1, 0.1, 0.1]).std == 0.0
    one = Spread.of([0.7])
    assert (one.mean, one.std, one.n) == (0.7, None, 1)


def drawn(rng: np.random.Generator, seeds: int, images: int, gap: bool = False) -> list[Flags]:
    return [tuple("".join(map(str, rng.integers(0, 2, images))) for _ in range(2 if gap else 1)) for _ in range(seeds)]


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("seeds", [(3, 3), (5, 3), (2, 4)])
def test_the_interval_from_scipys_two_parts(seeds: tuple[int, int], gap: bool) -> None:
    rng = np.random.default_rng(0)
    a, b = (drawn(rng, each, 80, gap) for each in seeds)
    numbers = np.array([[[int(flag) for flag in flags] for flags in training] for side in (a, b) for training in side])
    numbers = numbers[:, 0] - numbers[:, 1] if gap else numbers[:, 0]
    sides = numbers[: seeds[0]], numbers[seeds[0] :]  # (seeds, images) each
    d = sides[0].mean(axis=0) - sides[1].mean(axis=0)  # (images,)
    one, other = (stats.sem(side.mean(axis=1)) ** 2 for side in sides)
    images = stats.sem(d) ** 2
    total = one + other + images
    freedom = total**2 / (one**2 / (seeds[0] - 1) + other**2 / (seeds[1] - 1) + images**2 / 79)
    low, high = stats.t.interval(0.9, freedom, loc=d.mean(), scale=math.sqrt(total))
    found = over_seeds(a, b, 0.9)
    assert (found.n, found.seeds) == (80, seeds)
    assert found.value == pytest.approx(d.mean())
    assert (found.low, found.high) == pytest.approx((low, high))
    margin = float(d.mean()) - 0.03
    expected = 2 * stats.t.sf(0.03 / math.sqrt(total), freedom)
    assert over_seeds(a, b, 0.9, margin).p == pytest.approx(expected)
    assert found.value - found.low == pytest.approx(found.high - found.value)
    back = over_seeds(b, a, 0.9)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_seeds_that_agree_leave_the_images_interval() -> None:
    a, b = ("1101" * 30,), ("1001" * 30,)
    found = over_seeds([a, a, a], [b, b, b], 0.95)  # no seed differs from another
    d = [int(x) - int(y) for x, y in zip(a[0], b[0], strict=True)]
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 119, np.mean(d), stats.sem(d)))


def test_the_interval_is_a_point_if_all_seeds_and_images_agree_and_everything_for_one_image() -> None:
    one = over_seeds([("11",), ("11",)], [("00",), ("00",)], 0.95)
    assert (one.value, one.low, one.high, one.p) == (1.0, 1.0, 1.0, 0.0)
    same = over_seeds([("10",), ("10",)], [("10",), ("10",)], 0.95)
    assert (same.value, same.p, same.settled) == (0.0, 1.0, False)
    assert not over_seeds([("1",), ("1",)], [("0",), ("0",)], 0.95).settled


@pytest.mark.slow
@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.03])
@pytest.mark.parametrize(("seeds", "images"), [((3, 3), 100), ((3, 3), 1000), ((5, 5), 1000), ((5, 3), 1000)])
def test_equal_models_are_judged_different_in_at_most_5_of_100_cases(
    seeds: tuple[int, int], images: int, seed_sd: float
) -> None:
    rate = settled_rate(by_seeds, seeds, images, (seed_sd, seed_sd), gain=0.0, repeats=400)
    assert rate <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "limit"), [((3, 3), 0.083), ((5, 3), 0.052), ((5, 5), 0.053)])
def test_five_seeds_are_enough_for_a_model_whose_seeds_differ_eight_times_as_much(
    seeds: tuple[int, int], limit: float
) -> None:
    """docs/seeds.md says that three are not quite enough."""
    rate = settled_rate(by_seeds, seeds, 1000, (0.08, 0.01), gain=0.0, repeats=400)
    assert rate == pytest.approx(limit, abs=2.5 * math.sqrt(limit * (1 - limit) / 400))


@pytest.mark.slow
def test_five_points_are_found_with_three_seeds_of_a_thousand_images() -> None:
    assert settled_rate(by_seeds, (3, 3), 1000, (0.01, 0.01), gain=0.05, repeats=300) > 0.78


def test_many_images_do_not_make_up_for_seeds_that_disagree() -> None:
    """Each seed alone gives a clear difference; together they settle nothing."""
    high, low = ("1" * 700 + "0" * 300,), ("1" * 500 + "0" * 500,)
    assert paired(high[0], low[0], 0.95).settled
    assert not over_seeds([high, low, high], [low, high, low], 0.95).settled


def test_the_interval_covers_at_least_as_often_as_it_says() -> None:
    """Two crossed random effects, seeds and images, with a difference that is known."""
    rng, seeds, images, truth, repeats = np.random.default_rng(3), 3, 60, 0.1, 300
    hits = images_alone = 0
    for _ in range(repeats):
        of_seed = rng.normal(0, 0.05, (2, seeds, 1))
        of_image = rng.normal(0, 0.12, (2, 1, images))
        chance = np.clip(np.array([0.5 + truth, 0.5])[:, None, None] + of_seed + of_image, 0, 1)
        right = (rng.random((2, seeds, images)) < chance).astype(int)
        a, b = ([("".join(map(str, row)),) for row in side] for side in right)
        found = over_seeds(a, b, 0.9)
        hits += found.low <= truth <= found.high
        one = over_images(a[0], b[0], 0.9)
        images_alone += one.low <= truth <= one.high
    assert hits / repeats >= 0.88
    assert images_alone / repeats < 0.88  # otherwise the test would be too easy


def test_one_training_each_is_compared_over_images() -> None:
    a, b, c, d = "1101", "1001", "0111", "0100"
    assert over_images((a,), (b,), 0.95) == paired(a, b, 0.95)
    assert over_images((a, b), (c, d), 0.95) == paired_gaps(a, b, c, d, 0.95)
    assert (value_of((a,)), value_of((a, b))) == (0.75, 0.25)


@pytest.mark.parametrize(
    ("a", "b"),
    [([("10",)], [("10",)]), ([("10",)] * 2, [("10",)]), ([("10",)] * 2, [("101",)] * 2)],
)
def test_what_cannot_be_paired_is_refused(a: list[Flags], b: list[Flags]) -> None:
    with pytest.raises(ValueError, match=r"seed|shorter|longer|same images"):
        over_seeds(a, b, 0.95)
