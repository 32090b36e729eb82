"""Progress with an end in sight, for work that takes more than a moment."""

from __future__ import annotations

import time

from ssmlab.events import Listener, Progress

SECONDS_BETWEEN = 0.2


class Countdown:
    """Tells how far a task is, some times a second, and when it will be done if it goes on as it did so far."""

    def __init__(self, task: str, total: int, listen: Listener) -> None:
        self.task, self.total, self.listen = task, total, listen
        self.start = self.told = time.monotonic()
        self.done = 0

    def at(self, done: int) -> None:
        """`done` of `total` are done."""
        now = time.monotonic()
        if done == self.done or (now - self.told < SECONDS_BETWEEN and done < self.total):
            return
        self.told, self.done = now, done
        eta = (now - self.start) * (self.total - done) / done if done else None
        self.listen(Progress(self.task, done, self.total, eta=eta))
