"""Decides whether a study's numbers support its claims. Every verdict states its numbers and its reasons."""

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
        verdict: `supported`, `contradicted`, `not settled`, or `not testable` if these runs cannot test the claim.
        sentence: the verdict and its numbers, for a reader.
        reasons: why the runs allow no verdict, each as the end of a sentence; empty if they allow one.
        p: the p-value of the verdict, corrected for the number of measures in the claim; None if there was no test.
        adjusted_p: `p`, corrected for the number of claims in the study as well (Holm 1979).
        confounds: other differences between the two sides that may explain the result.
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
    """Judge all claims of a study, with a correction for their number.

    Two single runs are compared image by image. The result then holds for these two trainings only. Two groups of
    seeds are compared over all their seeds, and the interval covers the variation between seeds and between images
    (`ssmlab.analysis.seeds.over_seeds`). A group and a single run settle nothing.

    A claim is supported or contradicted if its p-value is at most 1 - confidence after Holm's correction (1979) over
    all claims that can be tested. Otherwise it is not settled. It is also not settled if a run was cut short or was
    still improving. It is not testable if a model is at chance level, if both sides are the same checkpoint, or if it
    is about robust overfitting and the runs could not have overfitted.

    Raises:
        UserError: a claim needs a run that was not attacked, or a measure that was not taken; the message names it.
    """
    weighed = [weigh(claim, study) for claim in claims]
    adjusted = holm([None if each.untestable else each.direction[1] for each in weighed])
    return tuple(judgement(each, p, study.confidence) for each, p in zip(weighed, adjusted, strict=True))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number by Holm's method (1979); None stays None and is not counted."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[place] = largest
    return adjusted


def judgement(weighed: Weighed, adjusted_p: float | None, confidence: float) -> Judgement:
    """The verdict on a claim whose corrected p-value is known."""
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
    if min(len(run.runs), len(than.runs)) > 1:
        opening += f", over {judged_seeds(run, than)}"
    elif single and not reasons:
        opening += ", for these two trainings only"
    if claim.by is not None:
        opening += f", with a margin of {claim.by:g} points"
    numbers = "; ".join(sentence(item, confidence) for item in weighed.evidence)
    why = f", because {listed(reasons)}" if reasons else ""
    if tested and verdict == "not settled" and p <= 1.0 - confidence:
        corrected = f"{p_text(adjusted_p or 1.0)} after the correction for several claims"
        why = f", because its p-value is {corrected} ({p_text(p)} before it)"
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


def judged_seeds(run: Side, than: Side) -> str:
    """`the seeds 0, 1 and 2`, or `3 and 5 seeds` if the two sides have different ones."""
    if set(run.runs) == set(than.runs):
        return f"the seeds {listed(sorted(run.runs))}"
    return f"{len(run.runs)} and {len(than.runs)} seeds"


def p_text(p: float) -> str:
    """`0.031`, or `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def sentence(item: Evidence, confidence: float) -> str:
    """One measure as text: both values, their difference, its interval and the number of images."""
    if item.difference:
        difference = spoken(item.difference, confidence)
    else:
        difference = f"{signed(item.run - item.than)} points (no interval: one side is a single training)"
    if item.measure.startswith(RO_GAP):
        name = item.measure.removeprefix(RO_GAP)
        return f"RO gap under {name} {signed(item.run)} against {signed(item.than)} points, {difference}"
    return f"{item.measure} {percent(item.run)} against {percent(item.than)}, {difference}"


def size_confound(run: Side, than: Side) -> tuple[str, ...]:
    """A line if the sizes of the two models differ by more than 10%: capacity alone may explain the difference."""
    (few, small), (many, large) = sorted((next(iter(each.runs.values())).parameters, each.name) for each in (run, than))
    if many <= 1.1 * few:
        return ()
    return (f"{large} has {many / few:.1f} times the parameters of {small} ({number(many)} against {number(few)})",)


def tally(judgements: tuple[Judgement, ...]) -> str:
    """How many claims have which verdict: `3 supported, 1 contradicted and 1 not settled`."""
    counts = {verdict: sum(item.verdict == verdict for item in judgements) for verdict in get_args(Verdict)}
    return listed(f"{count} {verdict}" for verdict, count in counts.items() if count)
