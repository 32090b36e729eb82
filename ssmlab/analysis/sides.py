"""The two sides of a claim: runs or groups of runs, with their attack results and training records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssmlab.analysis.seeds import BySeed, Flags
from ssmlab.analysis.training_record import TrainingRecord
from ssmlab.core.errors import UserError
from ssmlab.evaluation.results import AttackResults, Measure
from ssmlab.params import ClaimParams, Which

RO_GAP = "ro_gap:"


@dataclass(frozen=True)
class Side:
    """One side of a claim: a run, or the runs of a group by seed."""

    name: str
    runs: Mapping[int, AttackResults]

    def flags(self, measure: str, claim: ClaimParams) -> BySeed:
        """The flags of one measure of the claim, by seed.

        Raises:
            UserError: the measure was not taken on a run.
        """
        name = measure.removeprefix(RO_GAP)
        found: dict[int | None, Flags] = {}
        for seed in sorted(self.runs):
            moments: tuple[Which, ...] = ("best",) if name == measure else ("best", "last")
            found[seed] = tuple(required_measure(self.runs[seed], name, which, claim).flags for which in moments)
        return found


@dataclass(frozen=True)
class Study:
    """Everything that is needed to judge a study's claims.

    Attributes:
        results: the attack results by run name, all with the same protocol.
        groups: names of runs by group name.
        records: the training records by run name; a run without a history has none.
        classes: number of classes of the data set.
        confidence: the level of every interval. The probability that any verdict of the study is wrong is at most
            1 - confidence.
    """

    results: Mapping[str, AttackResults]
    groups: Mapping[str, Sequence[str]]
    records: Mapping[str, TrainingRecord]
    classes: int
    confidence: float


def side_of_claim(
    name: str, results: Mapping[str, AttackResults], groups: Mapping[str, Sequence[str]], claim: ClaimParams
) -> Side:
    """One side of a claim, given the name of a run or a group.

    Raises:
        UserError: a run of that side has no attack results.
    """
    names = groups.get(name, (name,))
    missing = [run for run in names if run not in results]
    if missing:
        raise UserError(
            f'the claim "{claim.says}" needs run {missing[0]}, which has no attack results; '
            f"run `ssmlab attack {missing[0]}`"
        )
    return Side(name, {results[run].train["seed"]: results[run] for run in names})


def required_measure(run: AttackResults, measure: str, which: Which, claim: ClaimParams) -> Measure:
    """The result of one measure on one checkpoint of one run.

    Raises:
        UserError: it was not measured.
    """
    checkpoint = run.checkpoints.get(which)
    found = checkpoint.measures.get(measure) if checkpoint else None
    if found is None:
        raise UserError(
            f'the claim "{claim.says}" needs {measure} on the {which} checkpoint of run {run.run}, which was not '
            f"measured; add {which} to attack.attacks.{measure}.checkpoints, or change the claim"
        )
    return found
