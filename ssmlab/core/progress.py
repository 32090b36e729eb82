"""Measures how much of a piece of work is done, its speed, and the remaining time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from ssmlab.core.events import Listener, Progress


class ProgressMeter:
    """Measures the speed of a piece of work and estimates when it will be done.

    Amounts may have any unit (steps, images, bytes, forward passes), the same one throughout.

    Attributes:
        total: how much work there is; may be corrected during the work.
        done: how much of it is done, in [0, total].

    Args:
        done: work that was done earlier (epochs before a resume, bytes in the cache). This meter did not time it, so it
            does not count towards the speed.
        expected_seconds: an estimate for all of the work, used until the speed can be measured.
        from_first_step: measure the speed from the end of the first step. Before that, worker processes may still be
            starting.
        clock: returns seconds since any fixed moment.
    """

    def __init__(
        self,
        total: float,
        *,
        done: float = 0.0,
        expected_seconds: float | None = None,
        from_first_step: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.done = total, done
        self.expected_seconds = expected_seconds
        self.clock = clock
        self._from_first_step = from_first_step
        self._began = clock()
        self._unmeasured = done  # part of `done` that does not count towards the speed
        self._reported_at, self._reported_done = -math.inf, math.nan

    def advance(self, amount: float = 1.0) -> None:
        """Another `amount` is done."""
        self.done += amount
        if self._from_first_step and amount > 0:
            self._from_first_step = False
            self._began, self._unmeasured = self.clock(), self.done

    def advance_to(self, done: float) -> None:
        """The total work done so far is `done`."""
        self.advance(done - self.done)

    def skip(self, amount: float) -> None:
        """Another `amount` turned out to be done already; it does not count towards the speed."""
        self.done += amount
        self._unmeasured += amount

    @property
    def elapsed(self) -> float:
        """Seconds over which the speed is measured."""
        return self.clock() - self._began

    @property
    def rate(self) -> float | None:
        """Amount per second, the mean over the time so far; None while nothing has been measured."""
        measured, elapsed = self.done - self._unmeasured, self.elapsed
        return measured / elapsed if measured > 0 and elapsed > 0 else None

    @property
    def eta(self) -> float | None:
        """Seconds until all is done at the mean speed so far, at least 0; None while that is unknown."""
        if self.done >= self.total:
            return 0.0
        if rate := self.rate:
            return (self.total - self.done) / rate
        return None if self.expected_seconds is None else max(self.expected_seconds - self.elapsed, 0.0)

    def is_due(self, every: float, *, even_without_change: bool = False) -> bool:
        """Whether it is time for another report; returning True counts as making one.

        A report is due if `every` seconds have passed since the last one, and at the end, but only if something was
        done in between. With `even_without_change`, only the time decides.
        """
        now = self.clock()
        waited, finished = now - self._reported_at >= every, self.done >= self.total
        changed = self.done != self._reported_done
        due = (waited and (changed or even_without_change)) or (finished and changed)
        if due:
            self._reported_at, self._reported_done = now, self.done
        return due

    def report(self, listener: Listener, task: str, *, every: float = 0.2, images: bool = False) -> None:
        """Send a `Progress` in whole units if one is due; with `images` the speed too, as images per second."""
        if self.is_due(every):
            rate = self.rate if images else None
            listener(Progress(task, int(self.done), int(self.total), images_per_second=rate, eta=self.eta))
