"""The runs of a study that differ in their seed alone, as one row of a table: means and standard deviations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ssmlab.analysis.seeds import Spread
from ssmlab.params import RunParams, Strict, Which, seed_groups

if TYPE_CHECKING:
    from ssmlab.analysis.summary import Run


class Group(Strict):
    """One model, trained in one way with one seed or several; the numbers of each are in the runs of the summary.

    Attributes:
        name: what the names of the runs have in common; a single run's own name.
        runs, seeds: the runs in the order of their seeds.
        checkpoints, gaps: every measure over the seeds, as accuracies in [0, 1] and their fall from best to last.
    """

    name: str
    label: str
    regime: str
    parameters: int
    runs: Annotated[tuple[str, ...], Field(strict=False)]
    seeds: Annotated[tuple[int, ...], Field(strict=False)]
    checkpoints: dict[Which, dict[str, Spread]]
    gaps: dict[str, Spread]

    @property
    def several(self) -> bool:
        """Whether there are several seeds."""
        return len(self.seeds) > 1

    def measure(self, name: str, which: Which) -> Spread | None:
        """One accuracy over the seeds, or None where it was not measured."""
        return self.checkpoints.get(which, {}).get(name)


def grouped(runs: Sequence[Run]) -> tuple[Group, ...]:
    """The groups of a study's runs, in the order of their first runs."""
    by_name = {run.name: run for run in runs}
    settings = {run.name: RunParams(model=run.model, train=run.train).plain() for run in runs}
    return tuple(group(name, [by_name[run] for run in names]) for name, names in seed_groups(settings).items())


def group(name: str, runs: Sequence[Run]) -> Group:
    """One group of runs that differ in their seed alone."""
    first = runs[0]
    return Group(
        name=name,
        label=first.label,
        regime=first.regime,
        parameters=first.parameters,
        runs=tuple(run.name for run in runs),
        seeds=tuple(run.train.seed for run in runs),
        checkpoints={
            which: {measure: over(runs, measure, which) for measure in checkpoint.measures}
            for which, checkpoint in first.checkpoints.items()
        },
        gaps={name: Spread.of([run.gaps[name].value for run in runs if name in run.gaps]) for name in first.gaps},
    )


def over(runs: Sequence[Run], name: str, which: Which) -> Spread:
    """One measure over the runs that have it, of which there is at least one."""
    return Spread.of([found.value for run in runs if (found := run.measure(name, which))])
