"""What a stage reports while it works. Stages never print; the CLI draws these events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one task of the stage has come.

    Attributes:
        task: what is being done ("epoch 3/10", "best: autoattack"); a new task starts a new bar.
        done, total: how much of the task is done, and all of it, in the same unit (batches, images, files).
        clean, robust: running accuracies in [0, 1], if the stage knows them.
        images_per_second: throughput, if there is a meaningful one.
        eta: seconds until the whole stage, not only this task, is expected to end; None while unknown.
    """

    task: str
    done: int
    total: int
    clean: float | None = None
    robust: float | None = None
    images_per_second: float | None = None
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """One line worth keeping: an epoch's result, an attack's accuracy, a file written, a warning."""

    text: str
    warning: bool = False


Event = Progress | Note
Listener = Callable[[Event], None]


def silence(event: Event) -> None:
    """A listener that does nothing."""
