"""Every accuracy as one flat record: the columns of `ssmlab.results` and of a report's tables/accuracies.csv."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ssmlab.analysis.protocol import by_strength
from ssmlab.analysis.summary import WORST, Run, SeedGroup
from ssmlab.evaluation.protocol import Protocol
from ssmlab.params import TokenParams, Which


class AccuracyRecord(NamedTuple):
    """One accuracy of one checkpoint.

    Attributes:
        group: the common name of the runs that differ only in their seed; without such runs, the run's own name.
        checkpoint: "best" or "last".
        attack: "clean", an attack's name, or "worst case" (right under every attack that saw the image).
        norm, eps: the ball that attacks search; eps is in units of pixels in [0, 1], and 0 for clean accuracy. A token
            attack changes only one patch; eps is 1 if that patch may have any values.
        n: number of images.
        accuracy, low, high: fractions in [0, 1]; low and high are the ends of Wilson's interval over images.
        epochs_done, epochs_asked: epochs trained, and epochs asked for; None if they are unknown.
    """

    study: str
    run: str
    group: str
    seed: int
    checkpoint: Which
    attack: str
    norm: str
    eps: float
    n: int
    accuracy: float
    low: float
    high: float
    epochs_done: int | None
    epochs_asked: int | None


def accuracy_records(
    study: str, runs: Sequence[Run], groups: Sequence[SeedGroup], protocol: Protocol
) -> Iterator[AccuracyRecord]:
    """Every accuracy of these runs, in their order, from clean to the strongest attack."""
    order = ("clean", *by_strength(protocol.attacks), WORST)
    group_of = {run: group.name for group in groups for run in group.runs}
    for run in runs:
        done, asked = (run.epochs.done, run.epochs.asked) if run.epochs else (None, None)
        for which, checkpoint in run.checkpoints.items():
            for name in (name for name in order if name in checkpoint.measures):
                found = checkpoint.measures[name]
                low, high = found.interval
                ball = ball_of(name, protocol)
                who = (study, run.name, group_of[run.name], run.train.seed)
                yield AccuracyRecord(*who, which, name, *ball, found.n, found.value, low, high, done, asked)


def ball_of(measure: str, protocol: Protocol) -> tuple[str, float]:
    """The norm and the radius of the ball that a measure is about."""
    if measure == "clean":
        return protocol.norm, 0.0
    spec = protocol.attacks.get(measure)
    if isinstance(spec, TokenParams):
        norm, eps = spec.searched(protocol.norm)
        return norm, float(eps)
    return protocol.norm, protocol.eps.value
