"""Settings of Python's garbage collector, so that a key seldom has to wait for it."""

from __future__ import annotations

import gc

from ssmlab.tui.look import Look

# The number of new objects that starts a collection of the youngest objects, and how many of these collections come
# before one of older objects and one of all objects. With Python's 700, 10 and 10, opening a screen starts 30
# collections, and sometimes one of all objects (60 ms).
THRESHOLDS = (50_000, 20, 10)


def spare_collector(before: Look | None, now: Look) -> None:
    """Once all runs have been read, turn the garbage collector on, but exclude all objects that exist at this moment.

    A full collection over 300 runs of 200 epochs takes 150 ms of CPU, and any key may have to wait for it. Without the
    objects of the first looks, it takes 60 ms. Objects that are replaced later are still freed by their reference
    counts. To ask the collector whether this was done already would take 10 ms, so the caller says it.
    """
    if not now.loading and (before is None or before.loading):
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()  # `ssmlab tui` turns it off, because at the start there is nothing to free


class GarbageCollection:
    """Frees the garbage of redraws between two looks, so that it does not pile up.

    A line that Textual has drawn refers to itself through its caches, so only the collector frees it. With THRESHOLDS
    alone it starts after 50,000 new objects (5 MB), and older lines stay for thousands of epochs. A collection of the
    young objects takes 2 to 6 ms of CPU, one of all that are not frozen 12 to 17 (one run, 120 x 40 cells, load 7).
    """

    YOUNG = 10_000  # new objects that are worth a collection
    FULL_EVERY = 10  # such collections: lines that were on the screen during one are old, and garbage later

    def __init__(self) -> None:
        self.done = 0

    def collect(self) -> None:
        """Collect if there are enough new objects, which is rare with Python's own thresholds."""
        if gc.isenabled() and gc.get_count()[0] >= self.YOUNG:
            self.done += 1
            gc.collect(1 if self.done % self.FULL_EVERY else 2)
