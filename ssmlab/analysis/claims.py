"""Whether a study's numbers support its claims: each verdict says its numbers, and what keeps it from being one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Literal, get_args

from pydantic import Field

from ssmlab.analysis.format import number, signed, spoken
from ssmlab.analysis.intervals import Difference
from ssmlab.analysis.seeds import BySeed, Flags, compared, value_of
from ssmlab.analysis.training_record import TrainingRecord
from ssmlab.core.errors import UserError
from ssmlab.core.text import listed, percent
from ssmlab.evaluation.results import AttackResults, Measure
from ssmlab.params import ClaimParams, Strict, Which

RO_GAP = "ro_gap:"
SEEDS_FOR_OVERFITTING = 3
Verdict = Literal["supported", "contradicted", "not settled", "not testable"]


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


@dataclass(frozen=True)
class Weighed:
    """A claim with its numbers, before the study's other claims are looked at."""

    claim: ClaimParams
    sides: tuple[Side, Side]
    common: tuple[int, ...]
    evidence: tuple[Evidence, ...]
    untestable: tuple[str, ...]
    unsettled: tuple[str, ...]

    @property
    def direction(self) -> tuple[Verdict, float]:
        """Where the numbers point, and the p-value of that.

        Supported needs every measure, so that its p-value is the largest (an intersection-union test, Berger 1982).
        Contradicted needs one of them only, so that its p-value is the smallest times their number (Bonferroni).
        """
        differences = [item.difference for item in self.evidence]
        if self.untestable or self.unsettled or None in differences:
            return "not settled", 1.0
        known = [each for each in differences if each]
        above = max(each.p if each.value > each.margin else 1.0 for each in known)
        below = min(1.0, len(known) * min(each.p if each.value < each.margin else 1.0 for each in known))
        return ("supported", above) if above <= below else ("contradicted", below)


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


def weigh(claim: ClaimParams, study: Study) -> Weighed:
    """A claim with its numbers: over the common seeds, of two single runs over images, else without an interval.

    Raises:
        UserError: a run or a number is missing.
    """
    run, than = (side_of_claim(name, study.results, study.groups, claim) for name in (claim.run, claim.than))
    common = tuple(sorted(set(run.runs) & set(than.runs)))
    evidence = tuple(evidence_of(measure, claim, run, than, common, study.confidence) for measure in claim.measures)
    if len(common) > 1:  # what the other seeds gave plays no part
        run, than = (replace(each, runs={seed: each.runs[seed] for seed in common}) for each in (run, than))
    return Weighed(
        claim=claim,
        sides=(run, than),
        common=common if len(common) > 1 else (),
        evidence=evidence,
        untestable=untestable(claim, run, than, study),
        unsettled=unsettled(run, than, study),
    )


def evidence_of(
    measure: str, claim: ClaimParams, run: Side, than: Side, common: Sequence[int], confidence: float
) -> Evidence:
    """One measure of a claim."""
    groups = len(run.runs) > 1 or len(than.runs) > 1
    seeds = common if groups and len(common) > 1 else None
    a, b = (each.flags(measure, seeds or sorted(each.runs), claim) for each in (run, than))
    values = [fmean(map(value_of, flags.values())) for flags in (a, b)]
    difference = compared(a, b, groups=groups, confidence=confidence, margin=(claim.by or 0.0) / 100)
    return Evidence(measure=measure, run=values[0], than=values[1], difference=difference)


def untestable(claim: ClaimParams, run: Side, than: Side, study: Study) -> tuple[str, ...]:
    """Why these runs cannot test the claim, whatever their numbers are."""
    runs = [result for each in (run, than) for result in each.runs.values()]
    hashes = [{result.checkpoints["best"].sha256 for result in each.runs.values()} for each in (run, than)]
    found = ["both sides are the same checkpoint"] if hashes[0] & hashes[1] else []
    found += [f"{result.run} is not better than chance" for result in runs if at_chance(result, study.classes)]
    if any(measure.startswith(RO_GAP) for measure in claim.measures):
        found += overfitting_reasons(run, than, study)
    return tuple(found)


def at_chance(result: AttackResults, classes: int) -> bool:
    """Whether the clean accuracy of the best checkpoint may be that of guessing."""
    clean = result.checkpoints["best"].measures["clean"]
    return clean.interval[0] <= 1.0 / classes


def overfitting_reasons(run: Side, than: Side, study: Study) -> Iterator[str]:
    """Why these runs cannot show robust overfitting: too few seeds, or trainings that could not have overfitted."""
    seeds = len(set(run.runs) & set(than.runs))
    if seeds < SEEDS_FOR_OVERFITTING:
        yield f"robust overfitting needs {SEEDS_FOR_OVERFITTING} seeds on both sides, and there are {seeds}"
    for result in (*run.runs.values(), *than.runs.values()):
        record, epoch = study.records.get(result.run), result.checkpoints["best"].epoch
        if record is None or epoch is None:
            yield f"{result.run} has no training history"
        elif reason := record.cannot_show_overfitting(epoch):
            yield f"{result.run} {reason}"


def unsettled(run: Side, than: Side, study: Study) -> tuple[str, ...]:
    """Why nothing should be concluded from these runs yet: trainings that were cut short or were still rising."""
    records = {name: study.records.get(name) for each in (run, than) for name in (r.run for r in each.runs.values())}
    return tuple(f"{name} {reason}" for name, record in records.items() if record and (reason := record.unfinished()))


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
