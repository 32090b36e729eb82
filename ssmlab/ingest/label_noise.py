"""Wrong training labels on purpose: they cause robust overfitting on data sets that are too clean to show it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ssmlab.core.seeds import seed_of

LabelArray = npt.NDArray[np.int64]


def add_label_noise(labels: LabelArray, classes: int, fraction: float, seed: int) -> LabelArray:
    """A copy of the labels in which exactly round(fraction * N) are wrong, each another class with equal probability.

    Labels that are wrong at a smaller fraction are wrong at a larger one too, with the same wrong classes. The random
    numbers are the raw output of PCG64, as in `ssmlab.ingest.splits`, and equal on every machine.

    Args:
        labels: (N,) int64 in [0, classes).
        classes: at least 2.
        fraction: in [0, 1].

    Returns:
        (N,) int64, a new array.
    """
    n = len(labels)
    generator = np.random.PCG64(seed_of(seed, "label noise"))
    order_keys, shift_keys = generator.random_raw(2 * n).reshape(2, n)
    rows = np.argsort(order_keys, kind="stable")[: round(fraction * n)]
    # adding 1, 2, ..., classes - 1 gives every other class; the modulo's bias is below classes / 2^64
    shift = 1 + (shift_keys[rows] % np.uint64(classes - 1)).astype(np.int64)
    noisy = labels.copy()
    noisy[rows] = (labels[rows] + shift) % classes
    return noisy
