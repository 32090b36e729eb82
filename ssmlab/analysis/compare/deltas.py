"""One number of a comparison: its mean over an entry's seeds, and its difference from the reference entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from ssmlab.analysis.compare.entries import Entry
from ssmlab.analysis.intervals import Difference, paired
from ssmlab.analysis.seeds import BySeed, Flags, Spread, compared, value_of
from ssmlab.evaluation.results import wilson

Word = Literal["", "same", "within noise", "too few seeds", "better", "worse"]


@dataclass(frozen=True)
class ComparedValue:
    """A number of one entry and its difference from the reference entry.

    Attributes:
        value: a fraction; for a group, the mean over its seeds; None if it was not measured.
        n: number of images.
        interval: for a single training, the interval of `value` over images.
        std: for a group, the sample standard deviation over seeds.
        n_seeds: number of trainings in the mean.
        delta: value - the reference's value. None for the reference itself, and if one of the two values is missing.
        difference: `delta` with its paired interval. It exists if both were measured under the same protocol, and both
            are groups or both single trainings.
        word: what the delta means.
    """

    value: float | None = None
    n: int | None = None
    interval: tuple[float, float] | None = None
    std: float | None = None
    n_seeds: int | None = None
    delta: float | None = None
    difference: Difference | None = None
    word: Word = ""


def compared_values(entries: Sequence[Entry], found: Sequence[BySeed], confidence: float) -> tuple[ComparedValue, ...]:
    """One measure of every entry, compared with the first entry; `found` holds the flags of each entry by seed."""
    reference, *others = found
    pairs = zip(entries[1:], others, strict=True)
    return (
        single_value(reference, confidence),
        *(value_with_delta(entry, flags, entries[0], reference, confidence) for entry, flags in pairs),
    )


def single_value(found: BySeed, confidence: float) -> ComparedValue:
    """One measure of one entry, without a comparison."""
    if not found:
        return ComparedValue()
    spread = Spread.of([value_of(flags) for flags in found.values()])
    flags = next(iter(found.values()))
    interval = own_interval(flags, confidence) if spread.n == 1 else None
    return ComparedValue(spread.mean, len(flags[0]), interval, spread.std, spread.n)


def own_interval(flags: Flags, confidence: float) -> tuple[float, float]:
    """The interval over images for a measure of a single training."""
    if len(flags) == 1:
        return wilson(flags[0].count("1"), len(flags[0]), confidence)
    gap = paired(flags[0], flags[1], confidence)
    return gap.low, gap.high


def value_with_delta(entry: Entry, found: BySeed, first: Entry, reference: BySeed, confidence: float) -> ComparedValue:
    """One measure of one entry, with its difference from the reference entry."""
    value = single_value(found, confidence)
    if not found or not reference:
        return value
    groups, alike = bool(entry.members or first.members), one_protocol(entry, first)
    difference = compared(found, reference, groups, confidence) if alike else None
    delta = mean_of(found) - mean_of(reference)
    gap = len(next(iter(found.values()))) > 1
    unjudged = alike and difference is None
    word: Word = "too few seeds" if unjudged else delta_word(delta, difference, more_is_better=not gap)
    return replace(value, delta=delta, difference=difference, word=word)


def mean_of(found: BySeed) -> float:
    """The mean of a measure over all seeds of an entry."""
    return fmean(map(value_of, found.values()))


def one_protocol(a: Entry, b: Entry) -> bool:
    """Whether both entries were attacked under one protocol; only then do their flags belong to the same images."""
    return len({results.protocol_fingerprint for results in (*a.attacked, *b.attacked)}) == 1


def delta_word(delta: float, difference: Difference | None, more_is_better: bool) -> Word:
    """What a delta means: `same` if it is exactly zero, `within noise` if its interval contains zero."""
    if abs(delta) < 1e-12:
        return "same"
    if difference is not None and not difference.settled:
        return "within noise"
    return "better" if (delta > 0) == more_is_better else "worse"
