"""How many CPU threads a training uses.

Several threads share out every operation and meet at its end. That pays only where the operations are long. What two
threads cost in CPU seconds, against one, for the attack step of S4 with B L D activations (benchmarks/neighbours.md):
24% more at 0.2 million (the default study), 11% at 1.6 million, 1% at 3.2 million (MNIST, pixel by pixel).

The number of threads decides how sums are split, and so the last bits of every weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ssmlab.params.train import Threads

ACTIVATIONS_PER_THREAD = 2**20  # from the measurement above


def thread_count(wanted: Threads, activations: int, device: torch.device, available: int) -> int:
    """The number of threads that `train.threads` means.

    Args:
        activations: B L D, the elements of one layer's output for one rank's batch.
        available: how many threads this process may use: torch's own default, which follows OMP_NUM_THREADS, torchrun
            (one a process) and the processors at hand.

    Returns:
        `wanted`; for `auto` a thread for every 2^20 activations, at least one and at most `available`. On a GPU one:
        the CPU only starts its kernels.
    """
    if wanted != "auto":
        return wanted
    if device.type != "cpu":
        return 1
    return max(1, min(activations // ACTIVATIONS_PER_THREAD, available))


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Inside, torch computes with `count` threads; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
