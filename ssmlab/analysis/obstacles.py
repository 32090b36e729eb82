"""Reasons why a claim cannot get a verdict, whatever its numbers are."""

from __future__ import annotations

from collections.abc import Iterator

from ssmlab.analysis.sides import RO_GAP, Side, Study
from ssmlab.evaluation.results import AttackResults
from ssmlab.params import ClaimParams

SEEDS_FOR_OVERFITTING = 3


def untestable(claim: ClaimParams, run: Side, than: Side, study: Study) -> tuple[str, ...]:
    """Why these runs cannot test the claim, each reason as the end of a sentence; empty if they can."""
    runs = [result for each in (run, than) for result in each.runs.values()]
    hashes = [{result.checkpoints["best"].sha256 for result in each.runs.values()} for each in (run, than)]
    found = ["both sides are the same checkpoint"] if hashes[0] & hashes[1] else []
    found += [f"{result.run} is not better than chance" for result in runs if at_chance(result, study.classes)]
    if any(measure.startswith(RO_GAP) for measure in claim.measures):
        found += overfitting_reasons(run, than, study)
    return tuple(found)


def at_chance(result: AttackResults, classes: int) -> bool:
    """Whether the interval of the best checkpoint's clean accuracy reaches the accuracy of guessing."""
    clean = result.checkpoints["best"].measures["clean"]
    return clean.interval[0] <= 1.0 / classes


def overfitting_reasons(run: Side, than: Side, study: Study) -> Iterator[str]:
    """Why these runs cannot show robust overfitting: too few seeds, or trainings that cannot have overfitted."""
    seeds = min(len(run.runs), len(than.runs))
    if seeds < SEEDS_FOR_OVERFITTING:
        yield f"robust overfitting needs {SEEDS_FOR_OVERFITTING} seeds on both sides, and there are {seeds}"
    for result in (*run.runs.values(), *than.runs.values()):
        record, epoch = study.records.get(result.run), result.checkpoints["best"].epoch
        if record is None or epoch is None:
            yield f"{result.run} has no training history"
        elif reason := record.cannot_show_overfitting(epoch):
            yield f"{result.run} {reason}"


def unsettled(run: Side, than: Side, study: Study) -> tuple[str, ...]:
    """Why no conclusion is possible yet: trainings that were cut short or were still improving."""
    records = {name: study.records.get(name) for each in (run, than) for name in (r.run for r in each.runs.values())}
    return tuple(f"{name} {reason}" for name, record in records.items() if record and (reason := record.unfinished()))
