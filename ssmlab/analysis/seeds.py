"""Combines trainings that differ only in their seed: mean, standard deviation, intervals.

docs/seeds.md explains the choices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev, variance

from ssmlab.analysis.intervals import Difference, paired, paired_gaps
from ssmlab.params import Strict

Flags = tuple[str, ...]  # one string for an accuracy; two (best, last) for the gap between them
BySeed = Mapping[int | None, Flags]  # None: an imported checkpoint, whose seed is unknown


class Spread(Strict):
    """A measure over `n` seeds: mean and sample standard deviation (ddof 1; None for a single seed)."""

    mean: float
    std: float | None = None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Mean and standard deviation of one or more values."""
        return cls(mean=fmean(values), std=stdev(values) if len(values) > 1 else None, n=len(values))


def value_of(flags: Flags) -> float:
    """The accuracy in [0, 1] of one checkpoint's flags, or the gap in [-1, 1] between two checkpoints."""
    first, *second = (each.count("1") / len(each) for each in flags)
    return first - second[0] if second else first


def compared(a: BySeed, b: BySeed, groups: bool, confidence: float, margin: float = 0.0) -> Difference | None:
    """One side's measure minus the other's, with an interval over images and, for groups, over seeds.

    Args:
        a, b: the flags of each side by seed.
        groups: whether a side is a group of trainings; then all seeds of both sides are used.
        confidence: the level of the interval, for example 0.95.
        margin: the difference that the p-value tests.

    Returns:
        None if only one side is a group: with a single training, the variation between seeds is unknown.

    Raises:
        ValueError: the flags do not belong to the same images.
    """
    if not groups:
        return over_images(next(iter(a.values())), next(iter(b.values())), confidence, margin)
    if min(len(a), len(b)) < 2:
        return None
    return over_seeds(list(a.values()), list(b.values()), confidence, margin)


def over_images(a: Flags, b: Flags, confidence: float, margin: float = 0.0) -> Difference:
    """One training's measure minus another's, with an interval over images.

    Raises:
        ValueError: the flags do not belong to the same images.
    """
    if len(a) == 1:
        return paired(a[0], b[0], confidence, margin)
    return paired_gaps(a[0], a[1], b[0], b[1], confidence, margin)


def over_seeds(a: Sequence[Flags], b: Sequence[Flags], confidence: float, margin: float = 0.0) -> Difference:
    """One group's measure minus another's, with an interval over seeds and over images.

    Other seeds and other images would give another difference. The variance of the mean difference is estimated by
    three terms,

        V = sd_s(mean_i a)^2 / S_a + sd_s(mean_i b)^2 / S_b + sd_i(mean_s a - mean_s b)^2 / N

    where a(s, i) and b(s, i) are 1 if the side is right for seed s on image i. The terms have S_a - 1, S_b - 1 and
    N - 1 degrees of freedom. The interval is mean +- t sqrt(V), with the degrees of freedom of the sum by Welch (1947)
    and Satterthwaite (1946). The seeds of the two sides are not paired, because different models with equal seeds are
    no more alike than with different seeds. So the sides may have different seeds, and different numbers of them. The
    images are paired, because the same images are hard for all models. Variation that seeds and images share is counted
    twice, so V is too large rather than too small. docs/seeds.md gives the size and power of the test.

    Args:
        a, b: the flags of two or more seeds each.
        confidence: the level of the interval, for example 0.95.
        margin: the difference that the p-value tests.

    Raises:
        ValueError: fewer than two seeds on a side, or flags that do not belong to the same images.
    """
    from scipy.special import stdtr, stdtrit  # imported here: `ssmlab compare` of single runs does not need it

    seeds = (len(a), len(b))
    if min(seeds) < 2:
        raise ValueError("a standard deviation needs two or more seeds")
    columns = [x - y for x, y in zip(image_means(a), image_means(b), strict=True)]
    images = len(columns)
    value = fmean(columns)
    if images == 1:  # the variance over images is unknown with one image
        return Difference(value=value, low=-2.0, high=2.0, n=1, p=1.0, margin=margin, seeds=seeds)
    terms = [(variance(map(value_of, side)) / len(side), len(side) - 1) for side in (a, b)]
    terms.append((variance(columns) / images, images - 1))
    total = sum(term for term, _ in terms)
    if total == 0.0:  # all seeds and all images gave the same difference
        p = 1.0 if value == margin else 0.0
        return Difference(value=value, low=value, high=value, n=images, p=p, margin=margin, seeds=seeds)
    freedom = total**2 / sum(term**2 / own_freedom for term, own_freedom in terms)
    error = math.sqrt(total)
    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    p = 2.0 * float(stdtr(freedom, -abs(value - margin) / error))
    return Difference(value=value, low=value - half, high=value + half, n=images, p=p, margin=margin, seeds=seeds)


def image_means(side: Sequence[Flags]) -> list[float]:
    """For every image, the share of seeds that are right; for gaps, that share at the best minus at the last epoch."""
    best, *last = (
        [column.count("1") / len(side) for column in zip(*flags, strict=True)] for flags in zip(*side, strict=True)
    )
    return [x - y for x, y in zip(best, last[0], strict=True)] if last else best
