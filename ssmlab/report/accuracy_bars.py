"""The numbers of the report's figures of accuracies: values with error bars."""

from __future__ import annotations

from typing import NamedTuple

from ssmlab.analysis.seeds import Spread
from ssmlab.analysis.summary import SeedGroup, Summary
from ssmlab.params import Which


class Bar(NamedTuple):
    """A value with the ends of its error bar, its number of images, and the values of single seeds if there are any."""

    value: float
    low: float
    high: float
    n: int
    seeds: tuple[float, ...] = ()

    @property
    def arms(self) -> list[list[float]]:
        """The lengths of the error bar's two arms."""
        return [[max(self.value - self.low, 0.0)], [max(self.high - self.value, 0.0)]]


def accuracy_bar(summary: Summary, group: SeedGroup, name: str, which: Which) -> Bar | None:
    """A run's accuracy with its interval over images; for a group, mean ± standard deviation over its seeds."""
    found = [measure for run in summary.members(group) if (measure := run.measure(name, which))]
    if not found:
        return None
    if not group.several:
        return Bar(found[0].value, *found[0].interval, found[0].n)
    spread = Spread.of([measure.value for measure in found])
    std = spread.std or 0.0
    return Bar(spread.mean, spread.mean - std, spread.mean + std, found[0].n, tuple(measure.value for measure in found))
