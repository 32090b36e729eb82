"""Confidence intervals and p-values for differences of accuracies that were measured on the same images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from ssmlab.evaluation.results import wilson
from ssmlab.params import Strict

SMALLEST_P = 1e-12  # smaller ones are all the same to a reader


class Difference(Strict):
    """A difference of accuracies with its confidence interval, as fractions (0.1 is ten points), over `n` images.

    Attributes:
        p: the two-sided p-value of "the difference is `margin`".
        margin: what the difference was tested against; 0 unless a claim names one.
        seeds: of how many seeds it is the mean, if the interval allows for other seeds; None of single trainings.
    """

    value: float
    low: float
    high: float
    n: int
    p: float
    margin: float = 0.0
    seeds: int | None = None

    @property
    def settled(self) -> bool:
        """Whether the interval lies wholly on one side of zero."""
        return self.low > 0.0 or self.high < 0.0


Bounds = Callable[[float], tuple[float, float]]  # the interval's ends by the confidence


def paired(a: str, b: str, confidence: float, margin: float = 0.0) -> Difference:
    """How much more often `a` is right than `b`, on the same images.

    The interval is the square-and-add score interval with continuity-corrected phi: method 10 of Newcombe (1998),
    "Improved confidence intervals for the difference between binomial proportions based on paired data", Statistics in
    Medicine 17, 2635-2650. It joins the Wilson intervals of the two proportions through their correlation, keeps inside
    [-1, 1] and, unlike the Wald interval, has a width above zero also where no image tells the two apart. It excludes
    zero only if the exact test does (`sign_flip_p`, here McNemar's).

    Args:
        a, b: one character an image, in the same order: "1" right, "0" wrong.

    Raises:
        ValueError: the flags are empty or differ in length, so that they cannot be of the same images.
    """
    return finished(differences_of(a, b), newcombe(a, b), confidence, margin)


def paired_gaps(
    best: str, last: str, other_best: str, other_last: str, confidence: float, margin: float = 0.0
) -> Difference:
    """How much larger one run's fall from its best to its last checkpoint is than another's, on the same images.

    The Newcombe intervals of both falls, put together as those put together the Wilson intervals of two proportions
    (the MOVER of Zou and Donner 2008), with the correlation of the falls over images. It excludes zero only if the
    exact test does (`sign_flip_p`), so that a handful of images never looks surer than it is.

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

    return finished([x - y for x, y in zip(one, other, strict=True)], bounds, confidence, margin)


def finished(numbers: Sequence[int], bounds: Bounds, confidence: float, margin: float) -> Difference:
    """The difference whose images give these numbers, with an interval that the exact test agrees with."""
    value, exact = mean(numbers), sign_flip_p(numbers)
    low, high = bounds(confidence)
    if exact > 1.0 - confidence:
        low, high = min(low, 0.0), max(high, 0.0)
    p = p_value(bounds, value, margin)
    if margin == 0.0:
        p = max(p, exact)
    return Difference(value=value, low=low, high=high, n=len(numbers), p=p, margin=margin)


def p_value(bounds: Bounds, value: float, margin: float) -> float:
    """The two-sided p-value of "the difference is `margin`": 1 - the confidence whose interval just reaches it."""
    inside, outside = 1.0, SMALLEST_P  # as 1 - confidence: the interval of `inside` excludes the margin
    if value == margin:
        return 1.0
    for _ in range(60):
        middle = math.sqrt(inside * outside)
        low, high = bounds(1.0 - middle)
        inside, outside = (middle, outside) if margin < low or margin > high else (inside, middle)
    return inside


def sign_flip_p(numbers: Sequence[int]) -> float:
    """The exact two-sided p-value of "every number is as likely as its opposite", for whole numbers from -2 to 2.

    The sum is compared with that of all ways to flip signs: 2 (2 X - m2) + (2 Y - m1), where m2 numbers are +-2 and m1
    are +-1, and X and Y are binomial with probability 1/2. Without +-2 it is McNemar's exact test.
    """
    counts = Counter(map(abs, numbers))
    ones, twos, total = counts[1], counts[2], abs(sum(numbers))
    if total == 0:
        return 1.0
    at_least = [0] * (ones + 2)  # at_least[y]: in how many ways Y >= y
    for y in range(ones, -1, -1):
        at_least[y] = at_least[y + 1] + math.comb(ones, y)
    ways = 0
    for x in range(twos + 1):
        needed = -((2 * (2 * x - twos) - total - ones) // 2)  # the least Y with 2 (2 X - m2) + (2 Y - m1) >= total
        ways += math.comb(twos, x) * at_least[min(max(needed, 0), ones + 1)]
    return float(min(1.0, 2 * ways / 2 ** (ones + twos)))


def newcombe(a: str, b: str) -> Bounds:
    """The interval of `paired` as a function of the confidence."""
    check_same_images(a, b)
    n, counts = len(a), Counter(zip(a, b, strict=True))
    both, only_a, only_b, neither = counts["1", "1"], counts["1", "0"], counts["0", "1"], counts["0", "0"]
    p, q = (both + only_a) / n, (both + only_b) / n
    phi, value = correlation(both, only_a, only_b, neither), (only_a - only_b) / n

    def bounds(confidence: float) -> tuple[float, float]:
        p_low, p_high = wilson(both + only_a, n, confidence)
        q_low, q_high = wilson(both + only_b, n, confidence)
        return value - square_and_add(p - p_low, q_high - q, phi), value + square_and_add(p_high - p, q - q_low, phi)

    return bounds


def correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Phi of a paired 2 x 2 table, shrunk by n/2 where it is positive (Newcombe 1998); 0 where a margin is empty."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    n, product = both + only_a + only_b + neither, both * neither - only_a * only_b
    shrunk = max(product - n / 2, 0.0) if product > 0 else product
    return shrunk / math.sqrt(margins)


def pearson(a: Sequence[int], b: Sequence[int]) -> float:
    """The correlation of two series of whole numbers; 0 where one of them does not vary."""
    n = len(a)
    numerator = n * sum(x * y for x, y in zip(a, b, strict=True)) - sum(a) * sum(b)
    variances = [n * sum(x * x for x in each) - sum(each) ** 2 for each in (a, b)]
    return numerator / math.sqrt(variances[0] * variances[1]) if all(variances) else 0.0


def square_and_add(a: float, b: float, phi: float) -> float:
    """Length of the difference of two errors `a` and `b` whose correlation is `phi`."""
    return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))


def differences_of(a: str, b: str) -> list[int]:
    """1, 0 or -1 for every image: right in `a` minus right in `b`; ValueError where they are not of the same images."""
    check_same_images(a, b)
    return [int(x) - int(y) for x, y in zip(a, b, strict=True)]


def mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers)


def check_same_images(a: Sequence[object], b: Sequence[object]) -> None:
    """Flags of the same images have one length, and there is at least one image."""
    if not a or len(a) != len(b):
        raise ValueError(f"flags of {len(a)} and {len(b)} images are not of the same images")
