"""Builds the summary of a study from its attack results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from ssmlab.analysis.claims import judge_claims
from ssmlab.analysis.data_used import data_used
from ssmlab.analysis.format import model_label, regime_label
from ssmlab.analysis.intervals import Difference, paired
from ssmlab.analysis.origin import EpochsDone, Origin
from ssmlab.analysis.protocol import by_strength, check_one_protocol, longest_pgd
from ssmlab.analysis.seeds import Spread
from ssmlab.analysis.sides import Study
from ssmlab.analysis.summary import WORST, Accuracy, CheckOverview, Checkpoint, Run, SeedGroup, StudySettings, Summary
from ssmlab.analysis.training_record import TrainingRecord
from ssmlab.core.errors import UserError
from ssmlab.core.validation import first_problem
from ssmlab.data.header import DataSummary
from ssmlab.evaluation.protocol import Protocol
from ssmlab.evaluation.results import AttackResults, Check, CheckpointResults, Count, wilson
from ssmlab.params import AnalyzeParams, RunParams, Which, seed_groups

EPS_SHARES = tuple(step / 10 for step in range(51))  # radii of an accuracy-eps curve as multiples of eps, 1 included


def summarize(
    study: str,
    results: Sequence[AttackResults],
    analyze: AnalyzeParams,
    prepared: DataSummary,
    records: Mapping[str, TrainingRecord] | None = None,
    settings: StudySettings | None = None,
    left_out: Sequence[str] = (),
) -> Summary:
    """The summary of a study.

    Args:
        results: the attack results of its runs, in the order in which the runs are shown.
        records: the training records by run name; a run without one is judged as if its training was good.
        settings, left_out: as in `Summary`.

    Raises:
        ProtocolMismatch: the runs were attacked under different protocols.
        UserError: a claim names a missing run or measure, or `prepared` is not the data set that was attacked.
    """
    check_one_protocol(results)
    by_name = {result.run: result for result in results}
    records = records or {}
    runs = tuple(summarize_run(result, analyze.confidence, records.get(result.run)) for result in results)
    groups = summarize_groups(runs)
    return Summary(
        study=study,
        confidence=analyze.confidence,
        data=data_used(prepared, results[0].protocol.data, study),
        protocol=results[0].protocol,
        protocol_fingerprint=results[0].protocol_fingerprint,
        measures=("clean", *by_strength(results[0].protocol.attacks), WORST),
        runs=runs,
        groups=groups,
        claims=judge_claims(
            analyze.claims,
            Study(
                results=by_name,
                groups={group.name: group.runs for group in groups},
                records=records,
                classes=prepared.description.classes,
                confidence=analyze.confidence,
            ),
        ),
        settings=settings,
        checks=tuple(check_overviews(results)),
        left_out=tuple(left_out),
    )


def summarize_run(result: AttackResults, confidence: float, record: TrainingRecord | None) -> Run:
    """The entry of one run in the summary."""
    settings = run_params(result)
    return Run(
        name=result.run,
        label=model_label(settings.model),
        regime=regime_label(settings.train),
        parameters=result.parameters,
        model=settings.model,
        train=settings.train,
        code_version=result.code_version,
        checkpoints={
            which: summarize_checkpoint(checkpoint, result, confidence)
            for which, checkpoint in result.checkpoints.items()
        },
        gaps=best_minus_last(result.checkpoints, confidence),
        epochs=epochs_done(result, record),
        scan=(result.scans or {}).get(mapped_attack(result), ()),
        trained=Origin.of(result.manifest.provenance if result.manifest else None),
        attacked=Origin.of(result.provenance),
    )


def check_overviews(results: Sequence[AttackResults]) -> Iterator[CheckOverview]:
    """One overview per check, over all checkpoints, in the order in which an evaluation runs the checks."""
    made: dict[str, list[tuple[Check, str, Which]]] = {}
    for result in results:
        for which, checkpoint in result.checkpoints.items():
            for check in checkpoint.checks:
                made.setdefault(check.name, []).append((check, result.run, which))
    for name, found in made.items():
        check, run, which = max(found, key=lambda each: each[0].value - each[0].threshold)
        yield CheckOverview(
            name=name,
            models=len(found),
            raised=sum(each.raised for each, _, _ in found),
            run=run,
            which=which,
            value=check.value,
            threshold=check.threshold,
        )


def epochs_done(result: AttackResults, record: TrainingRecord | None) -> EpochsDone | None:
    """How far a training went, from its manifest or else its history; None if there is neither."""
    if result.manifest:
        return EpochsDone.of(result.manifest)
    return EpochsDone(done=record.done, asked=record.asked) if record else None


def run_params(result: AttackResults) -> RunParams:
    """The settings of a run; raises UserError if they are unknown, or another version of ssmlab wrote them."""
    if not result.train:
        raise UserError(
            f"the training of the imported checkpoint {result.run} is unknown, so it is in no table of runs; see its "
            "numbers with `ssmlab compare` or `ssmlab.flags`"
        )
    try:
        return RunParams.model_validate({"model": result.model, "train": result.train})
    except ValidationError as error:
        raise UserError(
            f"the attack results of run {result.run} come from another version of ssmlab "
            f"({first_problem(error, RunParams)}); run "
            f"`ssmlab repro {result.run}`"
        ) from None


def best_minus_last(checkpoints: Mapping[Which, CheckpointResults], confidence: float) -> dict[str, Difference]:
    """Best minus last accuracy, for every measure that both checkpoints have on the same images."""
    best, last = (checkpoints.get(which) for which in ("best", "last"))
    before, after = measures_of(best), measures_of(last)
    common = [name for name in before if name in after]
    if best and last and best.worst_case.over != last.worst_case.over:
        common.remove(WORST)  # counted over different measures, so a difference would mean nothing
    return {name: paired(before[name].flags, after[name].flags, confidence) for name in common}


def measures_of(checkpoint: CheckpointResults | None) -> dict[str, Count]:
    """All measures of a checkpoint and the worst case; empty for a checkpoint that was not attacked."""
    if checkpoint is None:
        return {}
    return {**checkpoint.measures, WORST: checkpoint.worst_case}


def mapped_attack(result: AttackResults) -> str:
    """The token attack at every position whose map is shown (the first by name); empty if there is none."""
    return min(result.scans or (), default="")


def summarize_checkpoint(checkpoint: CheckpointResults, result: AttackResults, confidence: float) -> Checkpoint:
    """The entry of one checkpoint in the summary; intervals are computed again for this confidence."""
    protocol, mapped = result.protocol, mapped_attack(result)
    return Checkpoint(
        sha256=checkpoint.sha256,
        epoch=checkpoint.epoch,
        val_clean=checkpoint.val_clean,
        val_robust=checkpoint.val_robust,
        selection_split=checkpoint.selection_split,
        measures={
            name: Accuracy(
                n=found.n,
                correct=found.correct,
                value=found.accuracy,
                interval=wilson(found.correct, found.n, confidence),
            )
            for name, found in measures_of(checkpoint).items()
        },
        over=tuple(checkpoint.worst_case.over),
        warnings=tuple(checkpoint.warnings),
        checked=tuple(check.name for check in checkpoint.checks),
        raised=tuple(check for check in checkpoint.checks if check.raised),
        token_map=checkpoint.measures[mapped].token_map if mapped in checkpoint.measures else None,
        by_step=accuracy_by_step(checkpoint, longest_pgd(protocol.attacks)),
        by_eps=tuple(accuracy_by_eps(checkpoint, protocol)),
    )


def accuracy_by_step(checkpoint: CheckpointResults, attack: str) -> tuple[float, ...]:
    """Accuracy after 0, 1, 2, ... steps of an attack; empty if it was not run, or not recorded by an older version."""
    measure = checkpoint.measures.get(attack)
    return (measure.accuracy_by_step or ()) if measure else ()


def accuracy_by_eps(checkpoint: CheckpointResults, protocol: Protocol) -> Iterator[tuple[float, float]]:
    """(radius, accuracy) from 0 to five times eps, if an attack searched the smallest distances; otherwise empty.

    In L-inf, a radius of 1 is the largest, because this ball contains every image.
    """
    largest = 1.0 if protocol.norm == "linf" else math.inf
    radii = dict.fromkeys(min(protocol.eps.value * share, largest) for share in EPS_SHARES)
    for measure in checkpoint.measures.values():
        if measure.distances is not None:
            for radius in radii:
                right = sum(distance is None or distance > radius for distance in measure.distances)
                yield radius, right / len(measure.distances)
            return


def summarize_groups(runs: Sequence[Run]) -> tuple[SeedGroup, ...]:
    """The groups of a study's runs, ordered by the first run of each."""
    by_name = {run.name: run for run in runs}
    settings = {run.name: RunParams(model=run.model, train=run.train).plain() for run in runs}
    groups = seed_groups(settings)
    return tuple(summarize_group(name, [by_name[run] for run in names]) for name, names in groups.items())


def summarize_group(name: str, runs: Sequence[Run]) -> SeedGroup:
    """One group of runs that differ only in their seed."""
    first = runs[0]
    return SeedGroup(
        name=name,
        label=first.label,
        regime=first.regime,
        parameters=first.parameters,
        runs=tuple(run.name for run in runs),
        seeds=tuple(run.train.seed for run in runs),
        checkpoints={
            which: {measure: spread_over(runs, measure, which) for measure in checkpoint.measures}
            for which, checkpoint in first.checkpoints.items()
        },
        gaps={name: Spread.of([run.gaps[name].value for run in runs if name in run.gaps]) for name in first.gaps},
    )


def spread_over(runs: Sequence[Run], name: str, which: Which) -> Spread:
    """Mean and standard deviation of one measure over the runs that have it; at least one must have it."""
    return Spread.of([found.value for run in runs if (found := run.measure(name, which))])
