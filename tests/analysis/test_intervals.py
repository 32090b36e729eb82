"""The paired intervals against a second derivation, Tango's score interval, a bootstrap, SciPy, and closed forms."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ssmlab.analysis.intervals import SMALLEST_P, newcombe, p_value, paired, paired_gaps, sign_flip_p

flags = st.text(alphabet="01", min_size=1, max_size=60)
pairs = st.integers(1, 60).flatmap(lambda n: st.tuples(*[st.text(alphabet="01", min_size=n, max_size=n)] * 2))


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[str, str]:
    """Flags with these counts."""
    return "1" * (both + only_a) + "0" * (only_b + neither), "1" * both + "0" * only_a + "1" * only_b + "0" * neither


TABLES = [(36, 12, 2, 0), (1, 1, 7, 12), (430, 25, 18, 527), (10, 15, 5, 20)]


@pytest.mark.parametrize("counts", TABLES)
def test_newcombe_from_scipys_wilson_and_numpys_correlation(counts: tuple[int, int, int, int]) -> None:
    a, b = table(*counts)
    n, (x, y) = len(a), np.array([[int(flag) for flag in side] for side in (a, b)])
    p, q = (stats.binomtest(int(side.sum()), n).proportion_ci(0.95, method="wilson") for side in (x, y))
    phi = np.corrcoef(x, y)[0, 1]
    if phi > 0:  # the continuity correction takes n/2 off the numerator, and n^2 sd sd is the denominator
        phi = max(phi - (n / 2) / (n * n * x.std() * y.std()), 0.0)
    below = np.array([x.mean() - p.low, q.high - y.mean()])
    above = np.array([p.high - x.mean(), y.mean() - q.low])
    form = np.array([[1, -phi], [-phi, 1]])
    found, d = newcombe(a, b)(0.95), x.mean() - y.mean()
    assert found == pytest.approx((d - (below @ form @ below) ** 0.5, d + (above @ form @ above) ** 0.5))


def test_newcombes_interval_of_two_known_tables_stays_the_same() -> None:
    # Golden values of this code.
    found = [newcombe(*table(*counts))(0.95) for counts in TABLES[:2]]
    assert [(round(low, 4), round(high, 4)) for low, high in found] == [(0.0569, 0.3404), (-0.5069, -0.0256)]


def tango(only_a: int, only_b: int, n: int, confidence: float) -> tuple[float, float]:
    """The score interval of Tango (1998), by root finding: the differences that the score test does not reject."""
    z = stats.norm.ppf(0.5 + confidence / 2)
    value = (only_a - only_b) / n

    def score(d: float) -> float:
        # restricted estimate of P(b only) given the difference d
        b = -only_a - only_b + (2 * n - only_a + only_b) * d
        c = -only_b * d * (1 - d)
        q = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        return (only_a - only_b - n * d) / math.sqrt(max(variance, 1e-300))

    low = optimize.brentq(lambda d: score(d) - z, -1 + 1e-9, value - 1e-9)
    high = optimize.brentq(lambda d: score(d) + z, value + 1e-9, 1 - 1e-9)
    return low, high


@pytest.mark.parametrize("counts", [(500, 260, 60, 180), (430, 25, 18, 527), (40, 30, 5, 25), (45, 12, 9, 34)])
def test_newcombe_agrees_with_tango(counts: tuple[int, int, int, int]) -> None:
    found = paired(*table(*counts), 0.95)
    low, high = tango(counts[1], counts[2], sum(counts), 0.95)
    tolerance = 0.004 if sum(counts) >= 1000 else 0.02
    assert found.low == pytest.approx(low, abs=tolerance)
    assert found.high == pytest.approx(high, abs=tolerance)


def test_newcombe_agrees_with_a_bootstrap() -> None:
    counts = (500, 260, 60, 180)
    draws = np.random.default_rng(0).multinomial(1000, np.array(counts) / 1000, size=20_000)
    low, high = np.quantile((draws[:, 1] - draws[:, 2]) / 1000, [0.025, 0.975])
    found = paired(*table(*counts), 0.95)
    assert found.low == pytest.approx(low, abs=0.004)
    assert found.high == pytest.approx(high, abs=0.004)


def test_newcombe_covers_as_often_as_it_says() -> None:
    rng, truth = np.random.default_rng(1), 0.10
    draws = rng.multinomial(100, [0.55, 0.16, 0.06, 0.23], size=2000)
    covered = [(d := paired(*table(*map(int, row)), 0.95)).low <= truth <= d.high for row in draws]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@settings(deadline=None, max_examples=25)
@given(pairs, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_contains_the_value_and_changes_sign_with_the_sides(
    both: tuple[str, str], confidence: float
) -> None:
    a, b = both
    there, back = paired(a, b, confidence), paired(b, a, confidence)
    assert -1 - 1e-12 <= there.low <= there.value <= there.high <= 1 + 1e-12
    assert there.value == pytest.approx((a.count("1") - b.count("1")) / len(a))
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))


@settings(deadline=None, max_examples=25)
@given(pairs)
def test_more_confidence_is_wider_and_the_order_of_images_does_not_matter(both: tuple[str, str]) -> None:
    a, b = both
    narrow, wide = paired(a, b, 0.8), paired(a, b, 0.99)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high
    shuffled = random.Random(0).sample(list(zip(a, b, strict=True)), len(a))
    assert paired("".join(x for x, _ in shuffled), "".join(y for _, y in shuffled), 0.8) == narrow


def test_equal_flags_give_an_interval_of_positive_width() -> None:
    found = paired("0" * 100, "0" * 100, 0.95)
    assert (found.low, found.high) == pytest.approx((-0.0370, 0.0370), abs=1e-4)  # Wilson: 0 of 100 is at most 3.70%
    assert not found.settled


def test_an_interval_of_gaps_agrees_with_a_bootstrap() -> None:
    rng = random.Random(3)
    best, last, other_best, other_last = ("".join(rng.choice("01") for _ in range(400)) for _ in range(4))
    numbers = [
        (int(a) - int(b)) - (int(c) - int(d)) for a, b, c, d in zip(best, last, other_best, other_last, strict=True)
    ]
    found = paired_gaps(best, last, other_best, other_last, 0.9)
    resampled = np.random.default_rng(0).choice(numbers, size=(4000, 400)).mean(axis=1)
    assert found.value == pytest.approx(np.mean(numbers))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(resampled, [0.05, 0.95])), abs=0.02)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_an_interval_of_gaps_from_newcombes_two_and_numpys_correlation(confidence: float) -> None:
    """MOVER as a quadratic form in the distances of the ends; the two gaps are correlated over images."""
    rng = np.random.default_rng(5)
    hard = rng.random(300)
    sides = [(hard + 0.5 * rng.random(300) < limit).astype(int) for limit in (0.95, 0.6, 0.8, 0.7)]
    best, last, other_best, other_last = ("".join(map(str, side)) for side in sides)
    one, other = sides[0] - sides[1], sides[2] - sides[3]
    low, high = newcombe(best, last)(confidence)
    other_low, other_high = newcombe(other_best, other_last)(confidence)
    rho = np.corrcoef(one, other)[0, 1]
    assert abs(rho) > 0.1
    below = np.array([one.mean() - low, other_high - other.mean()])
    above = np.array([high - one.mean(), other.mean() - other_low])
    form, value = np.array([[1, -rho], [-rho, 1]]), one.mean() - other.mean()
    found = paired_gaps(best, last, other_best, other_last, confidence)
    expected = (value, value - (below @ form @ below) ** 0.5, value + (above @ form @ above) ** 0.5)
    assert found.settled
    assert (found.value, found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize("counts", [(7, 4, 0, 9), (0, 5, 0, 15), (800, 14, 5, 181)])
def test_an_interval_that_excludes_zero_is_widened_to_zero_if_the_exact_test_does_not_reject_it(
    counts: tuple[int, int, int, int],
) -> None:
    a, b = table(*counts)
    exact = stats.binomtest(counts[1], counts[1] + counts[2]).pvalue
    assert exact > 0.05
    assert newcombe(a, b)(0.95)[0] > 0.0
    for found, p in ((paired(a, b, 0.95), exact), (paired(b, a, 0.95), exact)):
        assert 0.0 in (found.low, found.high)
        assert not found.settled
        assert found.p == pytest.approx(p)


@pytest.mark.parametrize(("fallen", "settled"), [(4, False), (5, False), (10, True)])
def test_a_gap_on_a_few_images_is_settled_only_by_the_exact_test(fallen: int, settled: bool) -> None:
    # All images that fall do so on one side: the exact p is 2 / 2^fallen: 0.125 for 4 images, 0.031 for 6.
    best, last = "1" * 1000, "1" * (1000 - fallen) + "0" * fallen
    found = paired_gaps(best, last, best, best, 0.95)
    assert found.value == pytest.approx(fallen / 1000)
    assert found.settled == settled
    assert found.p >= 2 / 2**fallen


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=9))
def test_the_exact_test_counts_all_ways_to_flip_signs(numbers: list[int]) -> None:
    sums = [
        abs(sum(sign * number for sign, number in zip(signs, numbers, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(numbers))
    ]
    assert sign_flip_p(Counter(numbers)) == pytest.approx(np.mean([each >= abs(sum(numbers)) for each in sums]))


@settings(deadline=None, max_examples=25)
@given(pairs)
def test_without_twos_the_exact_test_is_mcnemars(both: tuple[str, str]) -> None:
    numbers = [int(a) - int(b) for a, b in zip(*both, strict=True)]
    only_a, only_b = numbers.count(1), numbers.count(-1)
    expected = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert sign_flip_p(Counter(numbers)) == pytest.approx(expected)


@settings(deadline=None, max_examples=25)
@given(pairs, st.floats(-0.5, 0.5))
def test_the_p_value_of_a_margin_agrees_with_the_interval(both: tuple[str, str], margin: float) -> None:
    found = paired(*both, 0.9, margin)
    low, high = newcombe(*both)(0.9)
    if abs(margin - low) > 1e-9 and abs(margin - high) > 1e-9 and margin != 0.0:
        assert (found.p < 0.1) == (not low <= margin <= high)
    assert 0.0 <= found.p <= 1.0


@settings(deadline=None, max_examples=100)
@given(pairs, st.sampled_from([0.0, 0.05, -0.1]))
@example(both=("1" * 14, "0" * 14), margin=-0.1)
def test_the_interval_at_the_p_value_ends_at_the_margin(both: tuple[str, str], margin: float) -> None:
    bounds, asked = newcombe(*both), list[float]()
    value = (both[0].count("1") - both[1].count("1")) / len(both[0])

    def counted(confidence: float) -> tuple[float, float]:
        asked.append(confidence)
        return bounds(confidence)

    p = p_value(counted, value, margin)
    low, high = bounds(1 - p)
    rounding = 1e-7 + 1e-16 / p  # 1 - p is rounded, which for a small p is a large share of it
    assert p in (1.0, SMALLEST_P) or min(abs(low - margin), abs(high - margin)) < rounding
    assert len(asked) <= 60


@pytest.mark.parametrize(("a", "b"), [("", ""), ("1", "10")])
def test_flags_of_other_images_are_refused(a: str, b: str) -> None:
    with pytest.raises(ValueError, match="same images"):
        paired(a, b, 0.95)
