"""How many CPU threads a training uses.

Threads divide the work of each operation and wait for each other at its end, which pays only for long operations.
Measured for the attack step of S4 with B L D activations (benchmarks/neighbours.md), two threads take more CPU seconds
than one: 24% more at 0.2 million (the default study), 11% at 1.6 million, 1% at 3.2 million (MNIST, pixel by pixel).

The number of threads decides how sums are split, so it changes the last bits of every weight.
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
        available: how many threads this process may use: torch's default, which follows OMP_NUM_THREADS, torchrun
            (one thread per process) and the number of processors.

    Returns:
        `wanted`; for `auto` one thread for every 2^20 activations, at least one and at most `available`. With a GPU
        always one, because the CPU only starts the GPU's work.
    """
    if wanted != "auto":
        return wanted
    if device.type != "cpu":
        return 1
    return max(1, min(activations // ACTIVATIONS_PER_THREAD, available))


@contextmanager
def using_threads(count: int) -> Iterator[None]:
    """Inside the block, torch computes with `count` threads; the number before is restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
