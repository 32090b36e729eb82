"""Stratified, seeded, disjoint splits, the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from ssmlab.core.errors import UserError
from ssmlab.data.header import SPLITS, PartName

Rows = npt.NDArray[np.int64]
SplitSize = int | Literal["all"]


def split_rows(
    labels: Mapping[PartName, Rows], *, train: SplitSize, validation: int, test: SplitSize, seed: int
) -> dict[PartName, Rows]:
    """Choose the rows of the three splits from a source's parts.

    Every part is put in a stratified order (see `stratified_order`), and splits are taken from its beginning. If the
    source has a part with the split's name, the split comes from that part. Otherwise it is taken from the training
    part: first the test split, then the validation split; the training split is the first `train` of the rest. So every
    class has its share in each split and in each prefix of a split. A smaller split is the beginning of a larger one.
    The test rows do not depend on the size of the validation split.

    Args:
        labels: (N,) int64 for each part of the source, at least `train`.
        train, validation, test: number of images, or "all"; `validation` may be 0.

    Returns:
        three disjoint int64 arrays of row numbers, counted through the parts train, validation, test.

    Raises:
        UserError: a part has fewer images than requested, fewer images than classes would be left for training, or the
            seed is negative.
    """
    order: dict[PartName, Rows] = {}
    before = 0
    for part in SPLITS:
        if part in labels:
            order[part] = before + stratified_order(labels[part], seed)
            before += len(labels[part])
    left, cut = order["train"], []
    chosen: dict[PartName, Rows] = {}
    asked: dict[PartName, SplitSize] = {"test": test, "validation": validation}
    for split, count in asked.items():
        if split in order:
            chosen[split] = take_first(order[split], count, split)
        elif count == "all":
            raise UserError(f"data.{split}: the source has no {split} part of its own; give a number of images")
        else:
            chosen[split], left = left[:count], left[count:]
            cut.append(f"data.{split} {count}")
    classes = len(np.unique(labels["train"]))
    if len(left) < classes:
        raise UserError(
            f"{' and '.join(reversed(cut)) or 'the source'} leave{'s' if len(cut) < 2 else ''} {len(left)} of "
            f"{len(order['train'])} images for training; at least {classes}, one a class, are needed"
        )
    if train != "all" and train < classes:
        raise UserError(f"data.train: {train} images; at least {classes}, one a class, are needed")
    return {"train": take_first(left, train, "train"), "validation": chosen["validation"], "test": chosen["test"]}


def take_first(rows: Rows, count: SplitSize, split: PartName) -> Rows:
    """The first `count` of `rows`; raises UserError if there are fewer."""
    if count == "all":
        return rows
    if count > len(rows):
        raise UserError(f"data.{split}: {count} images are requested, but there are {len(rows)}; request fewer")
    return rows[:count]


def stratified_order(labels: Rows, seed: int) -> Rows:
    """A random order of the rows of `labels` (N,) in which the classes are mixed as evenly as possible.

    Each class is shuffled, and its j-th of n images gets a random place in the j-th of n equal parts of [0, 1); all
    images are then sorted by place. Every prefix contains every class in proportion to its size, within
    1 + (number of classes) x (share of the class) images, and within 1 if the classes have equal sizes.

    The random numbers are the raw output of PCG64, which NumPy keeps the same on all platforms and in all versions
    (NEP 19); it does not promise that for `permutation` or `shuffle`.

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
