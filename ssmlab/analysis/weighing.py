"""Collects the numbers of a claim: what was measured on both sides, and in which direction it points."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from ssmlab.analysis.intervals import Difference
from ssmlab.analysis.obstacles import unsettled, untestable
from ssmlab.analysis.seeds import compared, value_of
from ssmlab.analysis.sides import Side, Study, side_of_claim
from ssmlab.params import ClaimParams, Strict

Direction = Literal["supported", "contradicted", "not settled"]


class Evidence(Strict):
    """One measure of a claim: the value of both sides (fractions) and their paired difference, run - than.

    For groups the values are means over all seeds of a side. If only one side is a group there is no `difference`.
    """

    measure: str
    run: float
    than: float
    difference: Difference | None = None


@dataclass(frozen=True)
class Weighed:
    """A claim with its numbers, before the correction for the number of claims."""

    claim: ClaimParams
    sides: tuple[Side, Side]
    evidence: tuple[Evidence, ...]
    untestable: tuple[str, ...]
    unsettled: tuple[str, ...]

    @property
    def direction(self) -> tuple[Direction, float]:
        """The direction of the numbers, and its p-value.

        A claim is supported only if every measure supports it, so its p-value is the largest one (an intersection-union
        test, Berger 1982). One measure is enough to contradict it, so that p-value is the smallest one times the number
        of measures (Bonferroni).
        """
        differences = [item.difference for item in self.evidence]
        if self.untestable or self.unsettled or None in differences:
            return "not settled", 1.0
        known = [each for each in differences if each]
        above = max(each.p if each.value > each.margin else 1.0 for each in known)
        below = min(1.0, len(known) * min(each.p if each.value < each.margin else 1.0 for each in known))
        return ("supported", above) if above <= below else ("contradicted", below)


def weigh(claim: ClaimParams, study: Study) -> Weighed:
    """Collect the numbers of a claim.

    Intervals are over seeds and images; for two single runs they are over images. A group and a single run get no
    interval.

    Raises:
        UserError: a run or a measure is missing.
    """
    run, than = (side_of_claim(name, study.results, study.groups, claim) for name in (claim.run, claim.than))
    return Weighed(
        claim=claim,
        sides=(run, than),
        evidence=tuple(evidence_of(measure, claim, run, than, study.confidence) for measure in claim.measures),
        untestable=untestable(claim, run, than, study),
        unsettled=unsettled(run, than, study),
    )


def evidence_of(measure: str, claim: ClaimParams, run: Side, than: Side, confidence: float) -> Evidence:
    """The numbers of one measure of a claim."""
    groups = len(run.runs) > 1 or len(than.runs) > 1
    a, b = (each.flags(measure, claim) for each in (run, than))
    values = [fmean(map(value_of, flags.values())) for flags in (a, b)]
    difference = compared(a, b, groups=groups, confidence=confidence, margin=(claim.by or 0.0) / 100)
    return Evidence(measure=measure, run=values[0], than=values[1], difference=difference)
