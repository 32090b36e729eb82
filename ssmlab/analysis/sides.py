"""What claims are about: runs and groups of runs, with their attack results and the records of their trainings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssmlab.analysis.seeds import BySeed, Flags
from ssmlab.analysis.training_record import TrainingRecord
from ssmlab.core.errors import UserError
from ssmlab.evaluation.results import AttackResults, Measure
from ssmlab.params import ClaimParams, Which

RO_GAP = "ro_gap:"


@dataclass(frozen=True)
class Side:
    """What stands on one side of a claim: a run, or the runs of a group by their seeds."""

    name: str
    runs: Mapping[int, AttackResults]

    def flags(self, measure: str, seeds: Iterable[int], claim: ClaimParams) -> BySeed:
        """A measure of the claim by seed; raises UserError where it was not taken."""
        name = measure.removeprefix(RO_GAP)
        found: dict[int | None, Flags] = {}
        for seed in seeds:
            moments: tuple[Which, ...] = ("best",) if name == measure else ("best", "last")
            found[seed] = tuple(required_measure(self.runs[seed], name, which, claim).flags for which in moments)
        return found


@dataclass(frozen=True)
class Study:
    """All that claims are judged by.

    Attributes:
        results: the attack results by run name, all of one protocol.
        groups: names of runs by group name.
        records: what the trainings' histories say, by run name; of runs without a history nothing is known.
        classes: of the data set.
        confidence: of every interval; all verdicts of the study together are wrong with at most 1 - confidence.
    """

    results: Mapping[str, AttackResults]
    groups: Mapping[str, Sequence[str]]
    records: Mapping[str, TrainingRecord]
    classes: int
    confidence: float


def side_of_claim(
    name: str, results: Mapping[str, AttackResults], groups: Mapping[str, Sequence[str]], claim: ClaimParams
) -> Side:
    """One side of a claim by the name of a run or a group; raises UserError if it has no attack results."""
    names = groups.get(name, (name,))
    missing = [run for run in names if run not in results]
    if missing:
        raise UserError(
            f'the claim "{claim.says}" needs run {missing[0]}, which has no attack results; '
            f"run `ssmlab attack {missing[0]}`"
        )
    return Side(name, {results[run].train["seed"]: results[run] for run in names})


def required_measure(run: AttackResults, measure: str, which: Which, claim: ClaimParams) -> Measure:
    """The result of one measure on one checkpoint of one run; raises UserError if there is none."""
    checkpoint = run.checkpoints.get(which)
    found = checkpoint.measures.get(measure) if checkpoint else None
    if found is None:
        raise UserError(
            f'the claim "{claim.says}" needs {measure} on the {which} checkpoint of run {run.run}, which was not '
            f"measured; add {which} to attack.attacks.{measure}.checkpoints, or change the claim"
        )
    return found
