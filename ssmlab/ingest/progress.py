"""Progress with an end in sight, for work that takes more than a moment."""

from __future__ import annotations

import math
import time

from ssmlab.core.events import Listener, Progress

SECONDS_BETWEEN = 0.2


class Countdown:
    """Tells how far a task is, some times a second, and when it will be done if it goes on as it did so far.

    How fast it is counts from the first time that something is done: until then worker processes may be starting.

    Args:
        images: whether it is images that are counted, so that their number a second is told as well.
    """

    def __init__(self, task: str, total: int, listen: Listener, *, images: bool = False) -> None:
        self.task, self.total, self.listen, self.images = task, total, listen, images
        self.first: tuple[int, float] | None = None
        self.told, self.done = -math.inf, -1

    def at(self, done: int) -> None:
        """`done` of `total` are done."""
        now = time.monotonic()
        if done and self.first is None:
            self.first = (done, now)
        if done == self.done or (now - self.told < SECONDS_BETWEEN and done < self.total):
            return
        self.told, self.done = now, done
        before, began = self.first or (0, now)
        speed = (done - before) / (now - began) if now > began else None
        self.listen(
            Progress(
                self.task,
                done,
                self.total,
                images_per_second=speed if self.images else None,
                eta=(self.total - done) / speed if speed else None,
            )
        )
