"""What several trainings that differ in their seed alone say together: mean, standard deviation, intervals.

docs/seeds.md has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from ssmlab.analysis.intervals import Difference, check_same_images, mean_interval, paired, paired_gaps
from ssmlab.params import Strict

Flags = tuple[str, ...]  # of one checkpoint, or of best and last where the fall between them is meant
BySeed = Mapping[int | None, Flags]  # None: an imported checkpoint, whose seed is unknown


class Spread(Strict):
    """A measure over `n` seeds: mean and sample standard deviation (ddof 1), which one seed alone does not have."""

    mean: float
    std: float | None = None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(mean=fmean(values), std=stdev(values) if len(values) > 1 else None, n=len(values))


def value_of(flags: Flags) -> float:
    """The accuracy in [0, 1] that the flags give, or the gap in [-1, 1] between those of two checkpoints."""
    first, *second = (each.count("1") / len(each) for each in flags)
    return first - second[0] if second else first


def compared(a: BySeed, b: BySeed, groups: bool, confidence: float) -> Difference | None:
    """How much larger one side's measure is than another's: of single trainings over images, of groups over seeds too.

    Args:
        groups: whether a side is a group of trainings. It is then compared over the seeds that both sides have.

    Returns:
        None where groups have fewer than two seeds in common.

    Raises:
        ValueError: the flags are not of the same images.
    """
    if not groups:
        return over_images(next(iter(a.values())), next(iter(b.values())), confidence)
    common = [seed for seed in a if seed in b]
    if len(common) < 2:
        return None
    return over_seeds([a[seed] for seed in common], [b[seed] for seed in common], confidence)


def over_images(a: Flags, b: Flags, confidence: float) -> Difference:
    """How much larger one training's measure is than another's, on the same images; ValueError if they are not."""
    if len(a) == 1:
        return paired(a[0], b[0], confidence)
    return paired_gaps(a[0], a[1], b[0], b[1], confidence)


def over_seeds(a: Sequence[Flags], b: Sequence[Flags], confidence: float) -> Difference:
    """How much larger one group's measure is than another's, seed by seed on the same images.

    Trainings with other seeds, judged on other images, would have given another difference. The interval allows for
    both: seed s and image i have a difference d(s, i), and half its width is the root of

        (t_{S-1} sd_s(mean_i d) / sqrt(S))^2 + (z sd_i(mean_s d) / sqrt(N))^2.

    Where seeds and images are two crossed random effects, the first term without its quantile estimates the seeds'
    share of the mean's variance and the second one the images'; what they share is counted in both, so that the sum is
    too large rather than too small.

    Args:
        a, b: the flags of two seeds or more, in the same order of seeds.

    Raises:
        ValueError: fewer than two seeds, not as many on both sides, or flags that are not of the same images.
    """
    if len(a) < 2:
        raise ValueError("one seed alone has no spread")
    rows = [minus(scores(one), scores(other)) for one, other in zip(a, b, strict=True)]
    of_seeds = Spread.of([fmean(row) for row in rows])
    of_images = mean_interval([fmean(column) for column in zip(*rows, strict=True)], confidence)
    assert of_seeds.std is not None
    seeds_half = student(confidence, of_seeds.n - 1) * of_seeds.std / math.sqrt(of_seeds.n)
    half = math.hypot(seeds_half, of_images.high - of_images.value)
    mean = of_seeds.mean
    return Difference(value=mean, low=mean - half, high=mean + half, n=of_images.n, seeds=of_seeds.n)


def scores(flags: Flags) -> list[int]:
    """A number an image: 1 right and 0 wrong; where the fall from best to last is meant, their difference."""
    first, *second = ([int(flag) for flag in each] for each in flags)
    return minus(first, second[0]) if second else first


def minus(a: Sequence[int], b: Sequence[int]) -> list[int]:
    """a - b, image by image; raises ValueError where they are not of the same images."""
    check_same_images(a, b)
    return [x - y for x, y in zip(a, b, strict=True)]


def student(confidence: float, freedom: int) -> float:
    """The two-sided quantile of Student's t: 4.303 for a confidence of 0.95 and 2 degrees of freedom.

    By bisection of the angle atan(t / sqrt(freedom)), whose probability is a finite sum (Abramowitz and Stegun 1964,
    26.7.3 and 26.7.4).
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < confidence else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def within(angle: float, freedom: int) -> float:
    """The probability that |t| is below sqrt(freedom) tan(angle)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for j in range(1, freedom // 2 + 1):
        total += term
        term *= cosine * cosine * (2 * j - 1 + odd) / (2 * j + odd)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
