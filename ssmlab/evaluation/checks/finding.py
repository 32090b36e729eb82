"""How a check says what it found."""

from __future__ import annotations

import math

from ssmlab.evaluation.results import Check

LARGEST = 1e12  # what is not finite is written as this, since JSON has no infinity


def finding(name: str, value: float, threshold: float, sentence: str, *, at_least: bool = False) -> Check:
    """The check `name`, raised where `value` is above the threshold, or, with `at_least`, where it reaches it."""
    value = min(value, LARGEST) if not math.isnan(value) else LARGEST
    raised = value >= threshold if at_least else value > threshold
    return Check(name=name, value=value, threshold=threshold, raised=raised, sentence=sentence if raised else "")


def images_finding(name: str, images: int, of: int, least_share: float, sentence: str) -> Check:
    """A check on a number of images: raised from 2 images on, if they are also `least_share` of all."""
    return finding(name, images, max(2.0, least_share * of), sentence, at_least=True)
