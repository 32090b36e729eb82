"""Pauses of Python's garbage collector, which a key may have to wait for."""

from __future__ import annotations

import gc

from ssmlab.tui.look import Look

# New objects before the youngest are looked through, and how often that happens before older and all objects are. With
# Python's 700, 10 and 10, opening a screen starts 30 collections, and now and then one of all objects (60 ms).
THRESHOLDS = (50_000, 20, 10)


def spare_collector(before: Look | None, now: Look) -> None:
    """Once all runs have been read, let the garbage collector work, without what is in memory then.

    A full collection over 300 runs of 200 epochs takes 150 ms of CPU, and any key may be the one that waits for it;
    without what the first looks have read it takes 60. What is replaced later is freed all the same, by its reference
    count. Asking the collector whether this was done already would take it 10 ms, so the looks tell.
    """
    if not now.loading and (before is None or before.loading):
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()  # `ssmlab tui` turns it off: at the start it looks through modules, and finds nothing to free
