"""Whether the study's numbers support its claims: each is judged by paired intervals, and says its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Literal, get_args

from pydantic import Field

from ssmlab.analysis.format import number, signed, spoken
from ssmlab.analysis.intervals import Difference
from ssmlab.analysis.seeds import BySeed, Flags, compared, value_of
from ssmlab.core.errors import UserError
from ssmlab.core.text import listed, percent
from ssmlab.evaluation.results import AttackResults, Measure
from ssmlab.params import ClaimParams, Strict, Which

RO_GAP = "ro_gap:"
Verdict = Literal["supported", "contradicted", "not settled"]


class Evidence(Strict):
    """One measure of a claim: the value of both sides (fractions) and their paired difference, run - than.

    Of groups the values are means over the common seeds; with fewer than two of those there is no `difference`, and
    the values are means over each side's own.
    """

    measure: str
    run: float
    than: float
    difference: Difference | None = None


class Judgement(Strict):
    """A claim with its verdict, the sentence that gives the numbers, and what else differs between its two sides."""

    says: str
    run: str
    than: str
    verdict: Verdict
    sentence: str
    confounds: Annotated[tuple[str, ...], Field(strict=False)]
    evidence: Annotated[tuple[Evidence, ...], Field(strict=False)]


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
            best = measured(self.runs[seed], name, "best", claim).flags
            found[seed] = (best,) if name == measure else (best, measured(self.runs[seed], name, "last", claim).flags)
        return found


def judge(
    claim: ClaimParams, results: Mapping[str, AttackResults], groups: Mapping[str, Sequence[str]], confidence: float
) -> Judgement:
    """The verdict on one claim.

    Supported: in every measure the whole interval of the difference lies above zero. Contradicted: in some measure it
    lies below zero. Not settled: anything else. To ask every measure at once needs no correction for their number (an
    intersection-union test, Berger 1982); several claims of one study are not corrected for each other.

    Two single runs are compared image by image. Where one side is a group of several seeds, both are compared seed by
    seed, over the seeds that they have in common, and the interval allows for other seeds and other images
    (`ssmlab.analysis.seeds.over_seeds`); with fewer than two common seeds nothing is settled.

    Args:
        results: the attack results by run name, all of one protocol.
        groups: names of runs by group name.

    Raises:
        UserError: a run or a measure of the claim was not attacked; the message names it.
    """
    run, than = (side(name, results, groups, claim) for name in (claim.run, claim.than))
    common = sorted(set(run.runs) & set(than.runs))
    evidence = tuple(weigh(measure, claim, run, than, common, confidence) for measure in claim.measures)
    verdict = verdict_of([item.difference for item in evidence])
    over = f", over the seeds {listed(common)}" if len(common) > 1 else ""
    return Judgement(
        says=claim.says,
        run=claim.run,
        than=claim.than,
        verdict=verdict,
        sentence=f"{verdict.capitalize()}{over}: {'; '.join(sentence(item, confidence) for item in evidence)}.",
        confounds=size_confound(run, than),
        evidence=evidence,
    )


def side(
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


def verdict_of(differences: Sequence[Difference | None]) -> Verdict:
    """The verdict that a claim's differences give together; None is one whose interval is not known."""
    if any(difference and difference.high < 0.0 for difference in differences):
        return "contradicted"
    if all(difference and difference.low > 0.0 for difference in differences):
        return "supported"
    return "not settled"


def weigh(
    measure: str, claim: ClaimParams, run: Side, than: Side, common: Sequence[int], confidence: float
) -> Evidence:
    """One measure of a claim: over the `common` seeds, of two single runs over images, else without an interval.

    Raises:
        UserError: a number is missing.
    """
    seeds = common if len(common) > 1 else None
    a, b = (each.flags(measure, seeds or sorted(each.runs), claim) for each in (run, than))
    values = [fmean(map(value_of, flags.values())) for flags in (a, b)]
    difference = compared(a, b, groups=len(a) > 1 or len(b) > 1, confidence=confidence)
    return Evidence(measure=measure, run=values[0], than=values[1], difference=difference)


def measured(run: AttackResults, measure: str, which: Which, claim: ClaimParams) -> Measure:
    """The result of one measure on one checkpoint of one run; raises UserError if there is none."""
    checkpoint = run.checkpoints.get(which)
    found = checkpoint.measures.get(measure) if checkpoint else None
    if found is None:
        raise UserError(
            f'the claim "{claim.says}" needs {measure} on the {which} checkpoint of run {run.run}, which was not '
            f"measured; add {which} to attack.attacks.{measure}.checkpoints, or change the claim"
        )
    return found


def sentence(item: Evidence, confidence: float) -> str:
    """One measure in words: both values, their difference, its interval and the number of images."""
    if item.difference:
        difference = spoken(item.difference, confidence)
    else:
        difference = f"{signed(item.run - item.than)} points (no interval: fewer than two seeds in common)"
    if item.measure.startswith(RO_GAP):
        name = item.measure.removeprefix(RO_GAP)
        return f"RO gap under {name} {signed(item.run)} against {signed(item.than)} points, {difference}"
    return f"{item.measure} {percent(item.run)} against {percent(item.than)}, {difference}"


def size_confound(run: Side, than: Side) -> tuple[str, ...]:
    """A line where the two models differ in size by more than 10%, since capacity alone may explain a difference."""
    (few, small), (many, large) = sorted((next(iter(each.runs.values())).parameters, each.name) for each in (run, than))
    if many <= 1.1 * few:
        return ()
    return (f"{large} has {many / few:.1f} times the parameters of {small} ({number(many)} against {number(few)})",)


def tally(judgements: tuple[Judgement, ...]) -> str:
    """How the claims fell, in words: `3 supported, 1 not settled and 1 contradicted`."""
    counts = {verdict: sum(item.verdict == verdict for item in judgements) for verdict in get_args(Verdict)}
    return listed(f"{count} {verdict}" for verdict, count in counts.items() if count)
