"""What several trainings that differ in their seed alone say together: mean, standard deviation, intervals.

docs/seeds.md has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev, variance

from ssmlab.analysis.intervals import Difference, differences_of, paired, paired_gaps
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


def compared(a: BySeed, b: BySeed, groups: bool, confidence: float, margin: float = 0.0) -> Difference | None:
    """How much larger one side's measure is than another's: of single trainings over images, of groups over seeds too.

    Args:
        groups: whether a side is a group of trainings. It is then compared over the seeds that both sides have.
        margin: the difference that the p-value is about.

    Returns:
        None where groups have fewer than two seeds in common.

    Raises:
        ValueError: the flags are not of the same images.
    """
    if not groups:
        return over_images(next(iter(a.values())), next(iter(b.values())), confidence, margin)
    common = [seed for seed in a if seed in b]
    if len(common) < 2:
        return None
    return over_seeds([a[seed] for seed in common], [b[seed] for seed in common], confidence, margin)


def over_images(a: Flags, b: Flags, confidence: float, margin: float = 0.0) -> Difference:
    """How much larger one training's measure is than another's, on the same images; ValueError if they are not."""
    if len(a) == 1:
        return paired(a[0], b[0], confidence, margin)
    return paired_gaps(a[0], a[1], b[0], b[1], confidence, margin)


def over_seeds(a: Sequence[Flags], b: Sequence[Flags], confidence: float, margin: float = 0.0) -> Difference:
    """How much larger one group's measure is than another's, over seeds and on the same images.

    Trainings with other seeds, judged on other images, would have given another difference. The variance of the mean
    difference is estimated by three terms,

        V = sd_s(mean_i a)^2 / S + sd_s(mean_i b)^2 / S + sd_i(mean_s (a - b))^2 / N

    for a(s, i) and b(s, i), which say whether each side is right for seed s and image i. They have S - 1, S - 1 and
    N - 1 degrees of freedom; the interval is mean +- t sqrt(V) with the degrees of freedom of the sum after Welch
    (1947) and Satterthwaite (1946). The sides' seeds are not paired, for equal seeds make different models no more
    alike; the images are, for the same images are hard for all. What seeds and images share is counted twice, so
    that V is too large rather than too small. docs/seeds.md has size and power.

    Args:
        a, b: the flags of two seeds or more, in the same order of seeds.

    Raises:
        ValueError: fewer than two seeds, not as many on both sides, or flags that are not of the same images.
    """
    from scipy.special import stdtr, stdtrit  # here, so that `ssmlab compare` of single runs answers at once

    if len(a) < 2:
        raise ValueError("one seed alone has no spread")
    rows = [image_differences(one, other) for one, other in zip(a, b, strict=True)]
    columns = [fmean(column) for column in zip(*rows, strict=True)]
    seeds, images = len(rows), len(columns)
    value = fmean(columns)
    if images == 1:  # the spread of one image is unknown
        return Difference(value=value, low=-2.0, high=2.0, n=1, p=1.0, margin=margin, seeds=seeds)
    terms = [(variance(map(value_of, side)) / seeds, seeds - 1) for side in (a, b)]
    terms.append((variance(columns) / images, images - 1))
    total = sum(term for term, _ in terms)
    if total == 0.0:  # every seed and every image gave the same difference
        p = 1.0 if value == margin else 0.0
        return Difference(value=value, low=value, high=value, n=images, p=p, margin=margin, seeds=seeds)
    freedom = total**2 / sum(term**2 / own_freedom for term, own_freedom in terms)
    error = math.sqrt(total)
    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    p = 2.0 * float(stdtr(freedom, -abs(value - margin) / error))
    return Difference(value=value, low=value - half, high=value + half, n=images, p=p, margin=margin, seeds=seeds)


def image_differences(a: Flags, b: Flags) -> list[int]:
    """How much more right `a` is than `b` on every image; where falls are meant, how much more it falls."""
    one, *last = (differences_of(x, y) for x, y in zip(a, b, strict=True))
    return [x - y for x, y in zip(one, last[0], strict=True)] if last else one
