"""Pauses of Python's garbage collector, which a key may have to wait for."""

from __future__ import annotations

import gc


def spare_collector() -> None:
    """Take what is in memory out of the garbage collector's sight, the first time this is called.

    A full collection over 300 runs of 200 epochs takes 150 ms of CPU, and any key may be the one that waits for it;
    without what the first looks have read it takes 60. What is replaced later is freed all the same, by its reference
    count.
    """
    if not gc.get_freeze_count():
        gc.freeze()
