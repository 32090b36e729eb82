"""Splits: disjoint, exact, stratified in every prefix, the same everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.data.sources import read_mnist5k
from ssmlab.data.splits import stratified_order, stratified_split
from ssmlab.errors import UserError

# made once by the plain loop `order_by_loop` below
GOLDEN_SMALL = [1, 3, 11, 6, 7, 2, 8, 0, 4, 9, 5, 10]
GOLDEN_LARGE = "db2e49779c1d35760d0ff468beed512da240ca88bf69f8e184066c0d8d5ee1cb"

labellings = st.lists(st.integers(0, 6), min_size=20, max_size=200).map(lambda labels: np.array(labels, dtype=np.int64))


@settings(deadline=None, max_examples=25)
@given(labellings, st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**40))
def test_partition_with_exact_sizes(labels: np.ndarray, validation: int, test: int, seed: int) -> None:
    split = stratified_split(labels, validation=validation, test=test, seed=seed)
    assert list(split) == ["train", "validation", "test"]
    assert (len(split["validation"]), len(split["test"])) == (validation, test)
    assert sorted(np.concatenate(list(split.values()))) == list(range(len(labels)))


@settings(deadline=None, max_examples=25)
@given(labellings, st.integers(0, 1000))
def test_every_prefix_is_as_stratified_as_promised(labels: np.ndarray, seed: int) -> None:
    ordered = labels[stratified_order(labels, seed)]
    classes, sizes = np.unique(labels, return_counts=True)
    share = sizes / len(labels)
    for m in range(len(labels) + 1):
        counts = np.array([(ordered[:m] == label).sum() for label in classes])
        assert np.all(np.abs(counts - m * share) <= 1 + len(classes) * share + 1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_equal_classes_take_turns(classes: int, each: int, seed: int, random) -> None:
    labels = np.repeat(np.arange(classes), each)
    random.shuffle(labels)
    rounds = labels[stratified_order(labels, seed)].reshape(each, classes)
    assert (np.sort(rounds, axis=1) == np.arange(classes)).all()


def test_default_study() -> None:
    labels = read_mnist5k().labels
    split = stratified_split(labels, validation=500, test=1000, seed=0)
    assert {name: len(rows) for name, rows in split.items()} == {"train": 3500, "validation": 500, "test": 1000}
    for rows in split.values():
        assert np.bincount(labels[rows]).tolist() == [len(rows) // 10] * 10
        assert np.bincount(labels[rows[:100]]).tolist() == [10] * 10


def test_seed_decides_and_nothing_else() -> None:
    labels = np.arange(300) % 3
    np.testing.assert_array_equal(stratified_order(labels, 1), stratified_order(labels.copy(), 1))
    assert (stratified_order(labels, 1) != stratified_order(labels, 2)).any()


def test_test_images_stay_when_other_sizes_change() -> None:
    labels = np.arange(300) % 3
    one = stratified_split(labels, validation=30, test=60, seed=3)
    two = stratified_split(labels, validation=90, test=60, seed=3)
    smaller = stratified_split(labels, validation=30, test=20, seed=3)
    np.testing.assert_array_equal(one["test"], two["test"])
    np.testing.assert_array_equal(one["test"][:20], smaller["test"])


def test_order_is_random_within_a_class_and_within_a_round() -> None:
    """A chi-squared test of where the first row, and the first class, land over many seeds (limits: p = 1e-6)."""
    labels = np.repeat(np.arange(5), 4)
    orders = np.array([stratified_order(labels, seed) for seed in range(2000)])
    round_of_row_0 = np.argmax(orders == 0, axis=1) // 5
    turn_of_class_0 = np.argmax(labels[orders[:, :5]] == 0, axis=1)
    for places, cells, limit in ((round_of_row_0, 4, 30.7), (turn_of_class_0, 5, 33.4)):
        expected = 2000 / cells
        assert ((np.bincount(places, minlength=cells) - expected) ** 2 / expected).sum() < limit


def order_by_loop(labels: list[int], seed: int) -> list[int]:
    """The same order from Python's numbers, one image after the other."""
    n = len(labels)
    raw = [int(number) >> 11 for number in np.random.PCG64(seed).random_raw(2 * n)]
    placed = []
    for label in sorted(set(labels)):
        rows = sorted((row for row in range(n) if labels[row] == label), key=lambda row: raw[row])
        placed += [((rank + raw[n + row] / 2**53) / len(rows), row) for rank, row in enumerate(rows)]
    return [row for _, row in sorted(placed)]


@settings(deadline=None, max_examples=25)
@given(labellings, st.integers(0, 2**40))
def test_order_against_a_loop(labels: np.ndarray, seed: int) -> None:
    assert stratified_order(labels, seed).tolist() == order_by_loop(labels.tolist(), seed)


def test_golden_order() -> None:
    """Fixed for ever: the test images of every published result depend on it."""
    assert stratified_order(np.arange(12) % 3, 0).tolist() == GOLDEN_SMALL
    order = stratified_order(np.arange(5000) // 500, 0).astype("<i8")
    assert hashlib.sha256(order.tobytes()).hexdigest() == GOLDEN_LARGE


@pytest.mark.parametrize(("validation", "test"), [(10, 18), (28, 1), (1, 30), (100, 100)])
def test_nothing_left_for_training(validation: int, test: int) -> None:
    with pytest.raises(UserError, match=r"data\.validation.*data\.test.*of 30 images"):
        stratified_split(np.arange(30) % 3, validation=validation, test=test, seed=0)


def test_one_image_a_class_is_enough() -> None:
    split = stratified_split(np.arange(30) % 3, validation=12, test=15, seed=0)
    assert sorted(split["train"] % 3) == [0, 1, 2]


def test_negative_seed() -> None:
    with pytest.raises(UserError, match=r"data\.seed"):
        stratified_split(np.arange(30) % 3, validation=3, test=3, seed=-1)
