"""What an attack reports while it works and when it is done."""

from __future__ import annotations

from collections.abc import Iterator

from ssmlab.artifacts.heartbeat import HeartbeatWriter
from ssmlab.core.events import Event, Listener, Note, Progress
from ssmlab.evaluation.results import Evaluation


def notes(which: str, evaluation: Evaluation) -> Iterator[Note]:
    """Each accuracy and each warning in one line."""
    for name, measure in evaluation.measures.items():
        low, high = measure.interval
        yield Note(f"{which}: {name} {measure.accuracy:.1%} of {measure.n} images (95%: {low:.1%} to {high:.1%})")
    for warning in evaluation.warnings:
        yield Note(f"{which}: {warning}", warning=True)


def with_heartbeat(heart: HeartbeatWriter, on_event: Listener) -> Listener:
    """`on_event`, with every progress carried into the heartbeat."""

    def beat_and_pass_on(event: Event) -> None:
        if isinstance(event, Progress):
            heart.beat(
                task=event.task,
                step=event.done,
                steps=event.total,
                images_per_second=event.images_per_second,
                eta_seconds=event.eta,
            )
        on_event(event)

    return beat_and_pass_on
