"""What an attack reports while it works and when it is done."""

from __future__ import annotations

from collections.abc import Iterator

from ssmlab.core.events import Note
from ssmlab.evaluation.results import Evaluation


def notes(which: str, evaluation: Evaluation) -> Iterator[Note]:
    """Each accuracy and each warning in one line."""
    for name, measure in evaluation.measures.items():
        low, high = measure.interval
        yield Note(f"{which}: {name} {measure.accuracy:.1%} of {measure.n} images (95%: {low:.1%} to {high:.1%})")
    for warning in evaluation.warnings:
        yield Note(f"{which}: {warning}", warning=True)
