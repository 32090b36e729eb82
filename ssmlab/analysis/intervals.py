"""Confidence intervals and p-values for differences between accuracies that were measured on the same images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import sub
from typing import Annotated

from pydantic import Field

from ssmlab.evaluation.results import two_sided_z, wilson_at
from ssmlab.params import Strict

SMALLEST_P = 1e-12  # smaller p-values make no difference to a reader
STEPS, SECANTS = 80, 20  # of the search for a p-value: the largest number of steps, and how many come before bisection
NEAR = 1e-12  # the search ends when a step changes the p-value by a smaller share than this


class Difference(Strict):
    """A difference of accuracies with its confidence interval, as fractions (0.1 is ten points), over `n` images.

    Attributes:
        p: the two-sided p-value of the hypothesis "the difference is `margin`".
        margin: the value that the difference was tested against; 0 unless a claim gives one.
        seeds: number of seeds on either side, if the interval covers the variation between seeds; None for single
            trainings.
    """

    value: float
    low: float
    high: float
    n: int
    p: float
    margin: float = 0.0
    seeds: Annotated[tuple[int, int] | None, Field(strict=False)] = None

    @property
    def settled(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0.0 or self.high < 0.0


Counts = Mapping[int, int]  # from a number, such as right minus wrong, to how many images have it
Bounds = Callable[[float], tuple[float, float]]  # from the confidence to the ends of the interval


def paired(a: str, b: str, confidence: float, margin: float = 0.0) -> Difference:
    """The accuracy of `a` minus the accuracy of `b`, on the same images.

    The interval is the square-and-add score interval with continuity-corrected phi. This is method 10 of Newcombe
    (1998), "Improved confidence intervals for the difference between binomial proportions based on paired data",
    Statistics in Medicine 17, 2635-2650. It combines the Wilson intervals of the two proportions through their
    correlation and stays inside [-1, 1]. Unlike the Wald interval, it has a positive width even if both are right on
    exactly the same images. It excludes zero only if the exact test rejects zero as well (`sign_flip_p`, here McNemar's
    test).

    Args:
        a, b: one character per image, in the same order: "1" right, "0" wrong.
        confidence: the level of the interval, for example 0.95.
        margin: the difference that the p-value tests.

    Raises:
        ValueError: the flags are empty or differ in length, so they cannot belong to the same images.
    """
    _, only_a, only_b = shared(a, b)
    return finished({1: only_a, -1: only_b, 0: len(a) - only_a - only_b}, newcombe(a, b), confidence, margin)


def paired_gaps(
    best: str, last: str, other_best: str, other_last: str, confidence: float, margin: float = 0.0
) -> Difference:
    """The gap (best - last) of one run minus the gap of another run, on the same images.

    The interval combines the Newcombe intervals of both gaps by the MOVER method (Zou and Donner 2008), with the
    correlation of the two gaps over images. Newcombe's method combines two Wilson intervals in the same way. The
    interval excludes zero only if the exact test rejects zero as well (`sign_flip_p`): with few images the
    approximation alone would be too confident.

    Raises:
        ValueError: the flags are empty or differ in length.
    """
    check_same_images(best, other_best)
    one, other = differences_of(best, last), differences_of(other_best, other_last)
    of_one, of_other = newcombe(best, last), newcombe(other_best, other_last)
    rho, falls = pearson(one, other), (mean(one), mean(other))

    def bounds(confidence: float) -> tuple[float, float]:
        (low, high), (other_low, other_high) = of_one(confidence), of_other(confidence)
        value = falls[0] - falls[1]
        below = square_and_add(falls[0] - low, other_high - falls[1], rho)
        above = square_and_add(high - falls[0], falls[1] - other_low, rho)
        return value - below, value + above

    return finished(Counter(map(sub, one, other)), bounds, confidence, margin)


def finished(counts: Counts, bounds: Bounds, confidence: float, margin: float) -> Difference:
    """The mean of counted numbers with its interval, widened to zero if the exact test does not reject it."""
    images = sum(counts.values())
    value, exact = sum_of(counts) / images, sign_flip_p(counts)
    low, high = bounds(confidence)
    if exact > 1.0 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    p = p_value(bounds, value, margin)
    if margin == 0.0:
        p = max(p, exact)
    return Difference(value=value, low=low, high=high, n=images, p=p, margin=margin)


def p_value(bounds: Bounds, value: float, margin: float) -> float:
    """The two-sided p-value of "the difference is `margin`": 1 - the confidence whose interval just reaches it.

    The search uses the logarithm of the p-value and false position (the Illinois method of Dowell and Jarratt 1971, BIT
    11, 168-174). This needs about 10 intervals; bisection would need 60. If the end of the interval has a corner, false
    position is slow, and bisection finishes the search.
    """

    def room(log_p: float) -> float:
        """How far the interval stays away from the margin; negative if it contains the margin."""
        low, high = bounds(1.0 - math.exp(log_p))
        return low - margin if value > margin else margin - high

    if value == margin:
        return 1.0
    far, inside = math.log(SMALLEST_P), 0.0  # the interval at `inside` excludes the margin, that at `far` contains it
    room_far, room_inside = room(far), abs(value - margin)
    if room_far > 0.0:
        return SMALLEST_P
    moved = 0  # the end that the last step moved; if the same end moves again, the other one counts half
    for attempt in range(STEPS):
        share = room_inside / (room_inside - room_far) if attempt < SECANTS else 0.5
        middle = inside + share * (far - inside)
        if min(abs(middle - inside), abs(far - inside)) < NEAR:
            break
        room_middle = room(middle)
        if room_middle > 0.0:
            inside, room_inside, room_far, moved = middle, room_middle, room_far / (1 + (moved > 0)), 1
        else:
            far, room_far, room_inside, moved = middle, room_middle, room_inside / (1 + (moved < 0)), -1
    return math.exp(inside)


def sign_flip_p(counts: Counts) -> float:
    """The exact two-sided p-value of "each number is as likely as its negative", for counted numbers from -2 to 2.

    The sum is compared with its distribution over all choices of signs: 2 (2 X - m2) + (2 Y - m1). Here m2 numbers are
    +-2, m1 numbers are +-1, and X and Y are binomial with probability 1/2. If no number is +-2, this is McNemar's exact
    test.
    """
    ones, twos = (counts.get(size, 0) + counts.get(-size, 0) for size in (1, 2))
    total = abs(sum_of(counts))
    if total == 0:
        return 1.0
    # for every x: the smallest Y with 2 (2 X - m2) + (2 Y - m1) >= total
    needed = [max(-((2 * (2 * x - twos) - total - ones) // 2), 0) for x in range(twos + 1)]
    at_least, choices = [0] * (ones + 2), 1  # at_least[y]: number of ways in which Y >= y, as far down as is needed
    for y in range(ones, min(needed) - 1, -1):
        at_least[y] = at_least[y + 1] + choices
        choices = choices * y // (ones - y + 1)  # `ones` over y - 1
    ways = sum(math.comb(twos, x) * at_least[min(y, ones + 1)] for x, y in enumerate(needed))
    return float(min(1.0, 2 * ways / 2 ** (ones + twos)))


def newcombe(a: str, b: str) -> Bounds:
    """The interval of `paired` as a function of the confidence."""
    n, (both, only_a, only_b) = len(a), shared(a, b)
    neither = n - both - only_a - only_b
    p, q = (both + only_a) / n, (both + only_b) / n
    phi, value = correlation(both, only_a, only_b, neither), (only_a - only_b) / n

    def bounds(confidence: float) -> tuple[float, float]:
        z = two_sided_z(confidence)
        (p_low, p_high), (q_low, q_high) = wilson_at(both + only_a, n, z), wilson_at(both + only_b, n, z)
        return value - square_and_add(p - p_low, q_high - q, phi), value + square_and_add(p_high - p, q - q_low, phi)

    return bounds


def correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Phi of a paired 2 x 2 table. A positive numerator is reduced by n/2 (Newcombe 1998); 0 if a margin is empty."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    n, product = both + only_a + only_b + neither, both * neither - only_a * only_b
    shrunk = max(product - n / 2, 0.0) if product > 0 else product
    return shrunk / math.sqrt(margins)


def pearson(a: Sequence[int], b: Sequence[int]) -> float:
    """Pearson's correlation of two series of whole numbers; 0 if one of them is constant."""
    n = len(a)
    numerator = n * sum(x * y for x, y in zip(a, b, strict=True)) - sum(a) * sum(b)
    variances = [n * sum(x * x for x in each) - sum(each) ** 2 for each in (a, b)]
    return numerator / math.sqrt(variances[0] * variances[1]) if all(variances) else 0.0


def square_and_add(a: float, b: float, phi: float) -> float:
    """The size of the difference of two errors with sizes `a` and `b` and correlation `phi`."""
    return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))


def differences_of(a: str, b: str) -> list[int]:
    """For every image, right in `a` minus right in `b`: 1, 0 or -1.

    Raises:
        ValueError: the flags are empty or differ in length.
    """
    check_same_images(a, b)
    return list(map(sub, a.encode(), b.encode()))


def shared(a: str, b: str) -> tuple[int, int, int]:
    """The number of images that are right in `a` and `b`, in `a` alone, and in `b` alone.

    Raises:
        ValueError: the flags are empty or differ in length.
    """
    check_same_images(a, b)
    in_a, in_b = int(a, 2), int(b, 2)  # one bit per image
    return (in_a & in_b).bit_count(), (in_a & ~in_b).bit_count(), (~in_a & in_b).bit_count()


def sum_of(counts: Counts) -> int:
    """The sum of counted numbers."""
    return sum(number * count for number, count in counts.items())


def mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers)


def check_same_images(a: Sequence[object], b: Sequence[object]) -> None:
    """Check that two series of flags have the same length and at least one image.

    Raises:
        ValueError: they do not.
    """
    if not a or len(a) != len(b):
        raise ValueError(f"flags of {len(a)} and {len(b)} images are not of the same images")
