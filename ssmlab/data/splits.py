"""Stratified, seeded, disjoint splits that come out the same on every machine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ssmlab.errors import UserError

Rows = npt.NDArray[np.int64]


def stratified_split(labels: Rows, *, validation: int, test: int, seed: int) -> dict[str, Rows]:
    """Split the rows of `labels` (N,) into `train`, `validation` and `test`.

    One stratified order (see `stratified_order`) is cut in three: the first `test` rows, the next `validation` rows,
    the rest. So every class has its share in each split and in each prefix of a split: with equal classes the first
    100 test images of 10 classes hold 10 of each. The test rows do not depend on the size of the validation split,
    and a smaller test split is the beginning of a larger one.

    Returns:
        three disjoint int64 arrays of row numbers that together hold every row once.

    Raises:
        UserError: fewer images would be left for training than there are classes, or the seed is negative.
    """
    classes = len(np.unique(labels))
    train = len(labels) - validation - test
    if train < classes:
        raise UserError(
            f"data.validation {validation} and data.test {test} leave {max(train, 0)} of {len(labels)} images "
            f"for training; at least {classes}, one a class, are needed"
        )
    order = stratified_order(labels, seed)
    return {
        "train": order[test + validation :],
        "validation": order[test : test + validation],
        "test": order[:test],
    }


def stratified_order(labels: Rows, seed: int) -> Rows:
    """A random order of the rows of `labels` (N,) in which the classes are mixed as evenly as they can be.

    Each class is shuffled, and its j-th of n images is put at a random place in the j-th of n equal parts of [0, 1);
    all images are then read from 0 to 1. Every prefix holds every class in proportion to its size, within
    1 + (number of classes) x (share of the class) images, and within 1 if the classes are equal.

    The random numbers are the raw output of PCG64, which NumPy keeps the same on all platforms and in all versions
    (NEP 19), as it does not for `permutation` or `shuffle`.

    Raises:
        UserError: the seed is negative.
    """
    if seed < 0:
        raise UserError(f"data.seed: {seed} is negative; 0 or more is needed")
    n = len(labels)
    keys, jitter = (np.random.PCG64(seed).random_raw(2 * n) >> np.uint64(11)).reshape(2, n) * 2.0**-53  # in [0, 1)
    place = np.empty(n)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank = np.argsort(np.argsort(keys[rows], kind="stable"), kind="stable")
        place[rows] = (rank + jitter[rows]) / len(rows)
    return np.argsort(place, kind="stable")
