"""Makes the C library keep freed memory."""

from __future__ import annotations

import ctypes
import os
import sys

# glibc's parameters for mallopt, and our values. 32 MiB is the most that M_MMAP_THRESHOLD may be; the other is an int.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_AT_MOST = 2_000_000_000  # bytes of free memory at the end of the heap
OWN_MAPPING_FROM = 32 * 2**20  # bytes of a block that does not come from the heap
SETTINGS_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next tensors; returns whether it does.

    Otherwise, glibc returns large blocks to the system at every step of a training, and gets them again page by page,
    filled with zeros. At 784 tokens, this takes 4 to 18% of the time of an update and 1 to 3% of an attack step
    (benchmarks/README.md). The peak of memory changes by at most 5%. Without glibc, or if the user has set one of
    glibc's own variables, nothing is changed.
    """
    if sys.platform != "linux" or any(name in os.environ for name in SETTINGS_OF_THE_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_FROM)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_AT_MOST))
