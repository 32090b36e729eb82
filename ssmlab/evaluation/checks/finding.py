"""Builds the result of a check."""

from __future__ import annotations

import math

from ssmlab.evaluation.results import Check

LARGEST = 1e12  # replaces values that are not finite, because JSON has no infinity


def finding(name: str, value: float, threshold: float, sentence: str, *, at_least: bool = False) -> Check:
    """The check `name`; its flag is raised if `value` is above the threshold (with `at_least`, also if equal)."""
    value = min(value, LARGEST) if not math.isnan(value) else LARGEST
    raised = value >= threshold if at_least else value > threshold
    return Check(name=name, value=value, threshold=threshold, raised=raised, sentence=sentence if raised else "")


def images_finding(name: str, images: int, of: int, least_share: float, sentence: str) -> Check:
    """A check on a number of images; its flag is raised for 2 or more images that are at least `least_share` of all."""
    return finding(name, images, max(2.0, least_share * of), sentence, at_least=True)
