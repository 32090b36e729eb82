"""Confidence intervals for differences of accuracies that were measured on the same images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist, fmean

from ssmlab.evaluation.results import wilson
from ssmlab.params import Strict


class Difference(Strict):
    """A difference of accuracies with its confidence interval, as fractions (0.1 is ten points), over `n` images.

    seeds: how many seeds it is the mean of, where the interval allows for other seeds too; None of single trainings.
    """

    value: float
    low: float
    high: float
    n: int
    seeds: int | None = None

    @property
    def settled(self) -> bool:
        """Whether the interval lies wholly on one side of zero."""
        return self.low > 0.0 or self.high < 0.0


def paired(a: str, b: str, confidence: float) -> Difference:
    """How much more often `a` is right than `b`, on the same images.

    The square-and-add score interval with continuity-corrected phi: method 10 of Newcombe (1998), "Improved confidence
    intervals for the difference between binomial proportions based on paired data", Statistics in Medicine 17,
    2635-2650. It joins the Wilson intervals of the two proportions through their correlation, keeps inside [-1, 1] and,
    unlike the Wald interval, has a width above zero also where no image tells the two apart.

    Args:
        a, b: one character an image, in the same order: "1" right, "0" wrong.

    Raises:
        ValueError: the flags are empty or differ in length, so that they cannot be of the same images.
    """
    check_same_images(a, b)
    n, counts = len(a), Counter(zip(a, b, strict=True))
    both, only_a, only_b, neither = counts["1", "1"], counts["1", "0"], counts["0", "1"], counts["0", "0"]
    p, q = (both + only_a) / n, (both + only_b) / n
    p_low, p_high = wilson(both + only_a, n, confidence)
    q_low, q_high = wilson(both + only_b, n, confidence)
    phi = correlation(both, only_a, only_b, neither)
    below = square_and_add(p - p_low, q_high - q, phi)
    above = square_and_add(p_high - p, q - q_low, phi)
    value = (only_a - only_b) / n
    return Difference(value=value, low=value - below, high=value + above, n=n)


def correlation(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Phi of a paired 2 x 2 table, shrunk by n/2 where it is positive (Newcombe 1998); 0 where a margin is empty."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    n, product = both + only_a + only_b + neither, both * neither - only_a * only_b
    shrunk = max(product - n / 2, 0.0) if product > 0 else product
    return shrunk / math.sqrt(margins)


def square_and_add(a: float, b: float, phi: float) -> float:
    """Length of the difference of two errors `a` and `b` whose correlation is `phi`."""
    return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))


def paired_gaps(best: str, last: str, other_best: str, other_last: str, confidence: float) -> Difference:
    """How much larger one run's fall from its best to its last checkpoint is than another's, on the same images.

    Every image gives one number, (best - last) - (other_best - other_last) in {-2, ..., 2}; the interval is the
    normal one of the mean of these numbers, mean +- z s / sqrt(n) with the sample's standard deviation s. It has no
    width where all images agree, so that a handful of images can look surer than it is; a gap of zero stays unsettled.

    Raises:
        ValueError: the flags are empty or differ in length.
    """
    for flags in (last, other_best, other_last):
        check_same_images(best, flags)
    numbers = [
        (a == "1") - (b == "1") - (c == "1") + (d == "1")
        for a, b, c, d in zip(best, last, other_best, other_last, strict=True)
    ]
    return mean_interval(numbers, confidence)


def mean_interval(numbers: Sequence[float], confidence: float) -> Difference:
    """The mean of numbers in [-2, 2] with its normal interval; of one number the spread is unknown: all of it."""
    n, mean = len(numbers), fmean(numbers)
    if n == 1:
        return Difference(value=mean, low=-2.0, high=2.0, n=n)
    spread = math.sqrt(sum((number - mean) ** 2 for number in numbers) / (n - 1))
    half = quantile(confidence) * spread / math.sqrt(n)
    return Difference(value=mean, low=mean - half, high=mean + half, n=n)


def quantile(confidence: float) -> float:
    """The standard normal's two-sided quantile: 1.96 for a confidence of 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def check_same_images(a: Sequence[object], b: Sequence[object]) -> None:
    """Flags of the same images have one length, and there is at least one image."""
    if not a or len(a) != len(b):
        raise ValueError(f"flags of {len(a)} and {len(b)} images are not of the same images")
