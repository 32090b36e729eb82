"""Whether the study's numbers support its claims: each is judged image by image, and the sentence says the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field

from ssmlab.analysis.intervals import Difference, paired, paired_gaps
from ssmlab.analysis.words import listed, number, percent, signed, spoken
from ssmlab.errors import UserError
from ssmlab.evaluation.results import AttackResults, Measure
from ssmlab.params import ClaimParams, Strict, Which

GAP = "ro_gap:"
Verdict = Literal["supported", "contradicted", "not settled"]


class Evidence(Strict):
    """One measure of a claim: the value of both runs (fractions) and their paired difference, run - than."""

    measure: str
    run: float
    than: float
    difference: Difference


class Judgement(Strict):
    """A claim with its verdict, the sentence that gives the numbers, and what else differs between the two runs."""

    says: str
    run: str
    than: str
    verdict: Verdict
    sentence: str
    confounds: Annotated[tuple[str, ...], Field(strict=False)]
    evidence: Annotated[tuple[Evidence, ...], Field(strict=False)]


def judge(claim: ClaimParams, results: Mapping[str, AttackResults], confidence: float) -> Judgement:
    """The verdict on one claim.

    Supported: in every measure the whole interval of the paired difference lies above zero. Contradicted: in some
    measure it lies below zero. Not settled: anything else. To ask every measure at once needs no correction for their
    number (an intersection-union test, Berger 1982); several claims of one study are not corrected for each other.

    Args:
        results: the attack results by run name, all of one protocol.

    Raises:
        UserError: a run or a measure of the claim was not attacked; the message names it.
    """
    evidence = tuple(weigh(measure, claim, results, confidence) for measure in claim.measures)
    verdict = verdict_of([item.difference for item in evidence])
    run, than = results[claim.run], results[claim.than]
    return Judgement(
        says=claim.says,
        run=claim.run,
        than=claim.than,
        verdict=verdict,
        sentence=f"{verdict.capitalize()}: {'; '.join(sentence(item, confidence) for item in evidence)}.",
        confounds=size_confound(run, than),
        evidence=evidence,
    )


def verdict_of(differences: list[Difference]) -> Verdict:
    """The verdict that a claim's differences give together."""
    if any(difference.high < 0.0 for difference in differences):
        return "contradicted"
    if all(difference.low > 0.0 for difference in differences):
        return "supported"
    return "not settled"


def weigh(measure: str, claim: ClaimParams, results: Mapping[str, AttackResults], confidence: float) -> Evidence:
    """One measure of a claim; raises UserError where a number is missing."""
    name = measure.removeprefix(GAP)
    run, than = (measured(results, who, name, "best", claim) for who in (claim.run, claim.than))
    if name == measure:
        difference = paired(run.flags, than.flags, confidence)
        return Evidence(measure=measure, run=run.accuracy, than=than.accuracy, difference=difference)
    run_last, than_last = (measured(results, who, name, "last", claim) for who in (claim.run, claim.than))
    return Evidence(
        measure=measure,
        run=run.accuracy - run_last.accuracy,
        than=than.accuracy - than_last.accuracy,
        difference=paired_gaps(run.flags, run_last.flags, than.flags, than_last.flags, confidence),
    )


def measured(results: Mapping[str, AttackResults], run: str, measure: str, which: Which, claim: ClaimParams) -> Measure:
    """The result of one measure on one checkpoint of one run; raises UserError if there is none."""
    where = f'the claim "{claim.says}"'
    if run not in results:
        raise UserError(f"{where} needs run {run}, which has no attack results; run `ssmlab attack {run}`")
    checkpoint = results[run].checkpoints.get(which)
    found = checkpoint.measures.get(measure) if checkpoint else None
    if found is None:
        raise UserError(
            f"{where} needs {measure} on the {which} checkpoint of run {run}, which was not measured; "
            f"add {which} to attack.attacks.{measure}.checkpoints, or change the claim"
        )
    return found


def sentence(item: Evidence, confidence: float) -> str:
    """One measure in words: both values, their difference, its interval and the number of images."""
    difference = spoken(item.difference, confidence)
    if item.measure.startswith(GAP):
        name = item.measure.removeprefix(GAP)
        return f"RO gap under {name} {signed(item.run)} against {signed(item.than)} points, {difference}"
    return f"{item.measure} {percent(item.run)} against {percent(item.than)}, {difference}"


def size_confound(run: AttackResults, than: AttackResults) -> tuple[str, ...]:
    """A line where the two models differ in size by more than 10%, since capacity alone may explain a difference."""
    small, large = sorted((run, than), key=lambda result: result.parameters)
    if large.parameters <= 1.1 * small.parameters:
        return ()
    counts = f"{number(large.parameters)} against {number(small.parameters)}"
    times = f"{large.parameters / small.parameters:.1f}"
    return (f"{large.run} has {times} times the parameters of {small.run} ({counts})",)


def tally(judgements: tuple[Judgement, ...]) -> str:
    """How the claims fell, in words: `3 supported, 1 not settled and 1 contradicted`."""
    counts = {verdict: sum(item.verdict == verdict for item in judgements) for verdict in get_args(Verdict)}
    return listed(f"{count} {verdict}" for verdict, count in counts.items() if count)
