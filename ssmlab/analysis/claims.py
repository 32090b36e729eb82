"""Whether a study's numbers support its claims: each verdict says its numbers, and what keeps it from being one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field

from ssmlab.analysis.format import number, signed, spoken
from ssmlab.analysis.sides import RO_GAP, Side, Study
from ssmlab.analysis.weighing import Evidence, Weighed, weigh
from ssmlab.core.text import listed, percent
from ssmlab.params import ClaimParams, Strict

Verdict = Literal["supported", "contradicted", "not settled", "not testable"]


class Judgement(Strict):
    """A claim with its verdict.

    Attributes:
        verdict: `supported`, `contradicted`, `not settled`, or `not testable` with these runs at all.
        sentence: the verdict with its numbers.
        reasons: why the runs allow no verdict, half a sentence each; empty where they do.
        p: the p-value behind the verdict, corrected for the number of the claim's measures; None without one.
        adjusted_p: the same corrected for the number of the study's claims (Holm 1979).
        confounds: what else differs between the two sides.
    """

    says: str
    run: str
    than: str
    verdict: Verdict
    sentence: str
    reasons: Annotated[tuple[str, ...], Field(strict=False)] = ()
    p: float | None = None
    adjusted_p: float | None = None
    confounds: Annotated[tuple[str, ...], Field(strict=False)]
    evidence: Annotated[tuple[Evidence, ...], Field(strict=False)]


def judge_claims(claims: Sequence[ClaimParams], study: Study) -> tuple[Judgement, ...]:
    """The verdicts on a study's claims, corrected for their number.

    Two single runs are compared image by image, which says something of these two trainings only. Where one side is a
    group of several seeds, both are compared seed by seed, over the seeds that they have in common, and the interval
    allows for other seeds and other images (`ssmlab.analysis.seeds.over_seeds`).

    Supported or contradicted is a claim whose p-value, corrected by Holm (1979) over all claims that can be tested, is
    below 1 - confidence. Not settled is any other, and every claim on a run that was cut short or was still rising. Not
    testable is a claim on a model at chance, on one and the same checkpoint, or about robust overfitting on runs that
    could not have overfitted.

    Raises:
        UserError: a run or a measure of a claim was not attacked; the message names it.
    """
    weighed = [weigh(claim, study) for claim in claims]
    adjusted = holm([None if each.untestable else each.direction[1] for each in weighed])
    return tuple(judgement(each, p, study.confidence) for each, p in zip(weighed, adjusted, strict=True))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected for their number after Holm (1979); None stays None and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def judgement(weighed: Weighed, adjusted_p: float | None, confidence: float) -> Judgement:
    """The verdict on a claim, once its corrected p-value is known."""
    claim, (run, than) = weighed.claim, weighed.sides
    direction, p = weighed.direction
    reasons = weighed.untestable or weighed.unsettled
    if weighed.untestable:
        verdict: Verdict = "not testable"
    elif adjusted_p is not None and adjusted_p <= 1.0 - confidence:
        verdict = direction
    else:
        verdict = "not settled"
    tested = not reasons and all(item.difference for item in weighed.evidence)
    single = max(len(run.runs), len(than.runs)) == 1
    opening = verdict.capitalize()
    if len(weighed.common) > 1:
        opening += f", over the seeds {listed(weighed.common)}"
    elif single and not reasons:
        opening += ", for these two trainings"
    if claim.by is not None:
        opening += f", for a margin of {claim.by:g} points"
    numbers = "; ".join(sentence(item, confidence) for item in weighed.evidence)
    why = f" because {listed(reasons)}" if reasons else ""
    if tested and verdict == "not settled" and p <= 1.0 - confidence:
        why = f", after the correction for several claims (p {p_text(p)} alone, {p_text(adjusted_p or 1.0)} corrected)"
    return Judgement(
        says=claim.says,
        run=claim.run,
        than=claim.than,
        verdict=verdict,
        sentence=f"{opening}{why}: {numbers}.",
        reasons=reasons,
        p=p if tested else None,
        adjusted_p=adjusted_p if tested else None,
        confounds=size_confound(run, than),
        evidence=weighed.evidence,
    )


def p_text(p: float) -> str:
    """`0.031`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


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
