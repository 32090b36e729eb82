"""The study in numbers: results/<study>/analysis/summary.json, from its attack results and what its data are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ssmlab.analysis.claims import Judgement, judge
from ssmlab.analysis.data_used import DataUsed, data_used
from ssmlab.analysis.groups import Group, grouped
from ssmlab.analysis.intervals import Difference, paired
from ssmlab.analysis.protocol import by_strength, check_one_protocol
from ssmlab.analysis.words import model_label, regime_label
from ssmlab.data.summary import DataSummary
from ssmlab.errors import UserError
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Count, Protocol, wilson
from ssmlab.files import read_json
from ssmlab.params import AnalyzeParams, ModelParams, RunParams, Strict, TrainParams, Which

WORST = "worst case"  # a label, not an attack's name: those have no spaces


class Accuracy(Strict):
    """`correct` of `n` images as a fraction, with its Wilson interval at the study's confidence."""

    n: int
    correct: int
    value: float
    interval: Annotated[tuple[float, float], Field(strict=False)]


class Checkpoint(Strict):
    """What was measured on one checkpoint, by measure; `WORST` counts the images right under every one of `over`."""

    sha256: str
    epoch: int | None = None
    val_clean: float | None = None
    val_robust: float | None = None
    selection_split: Literal["validation", "test"] | None = None
    measures: dict[str, Accuracy]
    over: Annotated[tuple[str, ...], Field(strict=False)]
    warnings: Annotated[tuple[str, ...], Field(strict=False)]


class Run(Strict):
    """One run: what it is, its checkpoints, and how far each accuracy falls from the best to the last of them."""

    name: str
    label: str
    regime: str
    parameters: int
    model: ModelParams
    train: TrainParams
    code_version: str
    checkpoints: dict[Which, Checkpoint]
    gaps: dict[str, Difference]

    def measure(self, name: str, which: Which) -> Accuracy | None:
        """One accuracy, or None where it was not measured."""
        checkpoint = self.checkpoints.get(which)
        return checkpoint.measures.get(name) if checkpoint else None


class Summary(Strict):
    """A study: its data, its protocol, its runs in the order of params.yaml, and its claims judged.

    Attributes:
        confidence: the level of every interval.
        groups: the runs that differ in their seed alone, together; every run is in one, alone if need be.
        measures: `clean`, then the attacks from the weakest kind to the strongest, then the worst case over them.
    """

    format: Literal[1] = 1
    study: str
    confidence: float
    data: DataUsed
    protocol: Protocol
    protocol_fingerprint: str
    measures: Annotated[tuple[str, ...], Field(strict=False)]
    runs: Annotated[tuple[Run, ...], Field(strict=False)]
    groups: Annotated[tuple[Group, ...], Field(strict=False)]
    claims: Annotated[tuple[Judgement, ...], Field(strict=False)]

    @property
    def attacks(self) -> tuple[str, ...]:
        """The measures that are attacks."""
        return tuple(name for name in self.measures if name not in ("clean", WORST))

    @property
    def several_seeds(self) -> bool:
        """Whether anything was trained with several seeds."""
        return any(group.several for group in self.groups)

    def members(self, group: Group) -> list[Run]:
        """The runs of a group, in the order of their seeds."""
        by_name = {run.name: run for run in self.runs}
        return [by_name[name] for name in group.runs]

    def main_attack(self) -> str:
        """The attack that stands for robust accuracy where there is room for one.

        It is the strongest of those that attacked the best checkpoints on the most images.
        """
        seen = {
            name: max((found.n for run in self.runs if (found := run.measure(name, "best"))), default=0)
            for name in self.attacks
        }
        return max(self.attacks, key=lambda name: (seen[name], self.attacks.index(name)))

    def every(self, name: str) -> list[Accuracy]:
        """One measure, of every run and checkpoint that has it."""
        return [measure for run in self.runs for which in run.checkpoints if (measure := run.measure(name, which))]

    def images(self, name: str) -> int:
        """The most images that a measure was taken on."""
        return max(measure.n for measure in self.every(name))


def summarize(study: str, results: Sequence[AttackResults], analyze: AnalyzeParams, prepared: DataSummary) -> Summary:
    """The summary of a study's attack results, which come in the order in which its runs are shown.

    Raises:
        ProtocolMismatch: the runs were attacked under different protocols.
        UserError: a claim names a run or a measure that is not there, or `prepared` is not the data that was attacked.
    """
    check_one_protocol(results)
    by_name = {result.run: result for result in results}
    runs = tuple(summarize_run(result, analyze.confidence) for result in results)
    groups = grouped(runs)
    members = {group.name: group.runs for group in groups}
    return Summary(
        study=study,
        confidence=analyze.confidence,
        data=data_used(prepared, results[0].protocol.data, study),
        protocol=results[0].protocol,
        protocol_fingerprint=results[0].protocol_fingerprint,
        measures=("clean", *by_strength(results[0].protocol.attacks), WORST),
        runs=runs,
        groups=groups,
        claims=tuple(judge(claim, by_name, members, analyze.confidence) for claim in analyze.claims),
    )


def summarize_run(result: AttackResults, confidence: float) -> Run:
    """One run of the summary."""
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
            which: summarize_checkpoint(checkpoint, confidence) for which, checkpoint in result.checkpoints.items()
        },
        gaps=gaps(result.checkpoints, confidence),
    )


def run_params(result: AttackResults) -> RunParams:
    """The settings of a run; raises UserError if another version of ssmlab wrote them."""
    try:
        return RunParams.model_validate({"model": result.model, "train": result.train})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(
            f"the attack results of run {result.run} are of another version of ssmlab ({key}: "
            f"{error.errors()[0]['msg']}); run `ssmlab repro {result.run}`"
        ) from None


def gaps(checkpoints: Mapping[Which, CheckpointResults], confidence: float) -> dict[str, Difference]:
    """Best minus last accuracy of every measure that both checkpoints have on the same images."""
    best, last = (checkpoints.get(which) for which in ("best", "last"))
    before, after = measures_of(best), measures_of(last)
    common = [name for name in before if name in after]
    if best and last and best.worst_case.over != last.worst_case.over:
        common.remove(WORST)  # counted over other measures, so that a difference would mean nothing
    return {name: paired(before[name].flags, after[name].flags, confidence) for name in common}


def measures_of(checkpoint: CheckpointResults | None) -> dict[str, Count]:
    """All measures of a checkpoint, the worst case with them; none of a checkpoint that was not attacked."""
    if checkpoint is None:
        return {}
    return {**checkpoint.measures, WORST: checkpoint.worst_case}


def summarize_checkpoint(checkpoint: CheckpointResults, confidence: float) -> Checkpoint:
    """One checkpoint of the summary; the intervals are made anew, at the confidence that is asked for."""
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
    )


def load_summary(path: Path) -> Summary:
    """Read a summary; raises UserError if it is missing or was not written by this version's `ssmlab analyze`."""
    value = read_json(path, "the analysis of the study", "run `ssmlab analyze`")
    try:
        return Summary.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise UserError(
            f"{path}: not an analysis of this version ({key}: {problem['msg']}); run `ssmlab analyze`"
        ) from None
