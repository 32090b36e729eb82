"""Verdicts on claims about made-up results, and trainings that are in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ssmlab.analysis.claims import Judgement, judge_claims
from ssmlab.analysis.sides import Study
from ssmlab.analysis.training_record import TrainingRecord
from ssmlab.evaluation.results import AttackResults
from ssmlab.params import ClaimParams, Params
from tests.analysis.synthetic import results


def judge(
    claim: ClaimParams,
    found: Mapping[str, AttackResults],
    groups: Mapping[str, Sequence[str]],
    records: Mapping[str, TrainingRecord] | None = None,
) -> Judgement:
    """The verdict on the only claim of a study; every run has its own checkpoint."""
    study = Study({run: with_own_checkpoint(each) for run, each in found.items()}, groups, records or {}, 10, 0.95)
    return judge_claims([claim], study)[0]


def with_own_checkpoint(result: AttackResults) -> AttackResults:
    checkpoints = {
        which: each.model_copy(update={"sha256": f"{result.run} {which}", "epoch": 5 if which == "best" else 10})
        for which, each in result.checkpoints.items()
    }
    return result.model_copy(update={"checkpoints": checkpoints})


def record(asked: int = 10, done: int = 10, rise: float = 0.0, gap: float | None = 0.2) -> TrainingRecord:
    return TrainingRecord(done=done, asked=asked, rise=rise, gap=gap)


def flags(right: int, n: int = 1000) -> str:
    return "1" * right + "0" * (n - right)


def verdict(params: Params, run: dict[str, str], than: dict[str, str], *measures: str) -> Judgement:
    claim = ClaimParams(says="A is higher", run="ads", than="ssm", measures=measures)
    found = {"ads": results(params, "ads", run, run), "ssm": results(params, "ssm", than, than)}
    return judge(claim, found, {})
