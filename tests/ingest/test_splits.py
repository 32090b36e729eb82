"""Splits: disjoint, exact, stratified in every prefix, the same everywhere."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.ingest.splits import split_rows, stratified_order

# made once by the plain loop `order_by_loop` below
GOLDEN_SMALL = [1, 3, 11, 6, 7, 2, 8, 0, 4, 9, 5, 10]
GOLDEN_LARGE = "db2e49779c1d35760d0ff468beed512da240ca88bf69f8e184066c0d8d5ee1cb"


def cut(
    labels: np.ndarray, *, train: int | str = "all", validation: int, test: int, seed: int
) -> dict[str, np.ndarray]:
    """The splits of a source with nothing but a training part."""
    return split_rows({"train": labels}, train=train, validation=validation, test=test, seed=seed)


labellings = st.lists(st.integers(0, 6), min_size=20, max_size=200).map(lambda labels: np.array(labels, dtype=np.int64))


@settings(deadline=None, max_examples=25)
@given(labellings, st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**40))
def test_splits_partition_the_images_in_exact_sizes(labels: np.ndarray, validation: int, test: int, seed: int) -> None:
    split = cut(labels, validation=validation, test=test, seed=seed)
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
def test_classes_of_equal_size_alternate_in_the_order(classes: int, each: int, seed: int, random) -> None:
    labels = np.repeat(np.arange(classes), each)
    random.shuffle(labels)
    rounds = labels[stratified_order(labels, seed)].reshape(each, classes)
    assert (np.sort(rounds, axis=1) == np.arange(classes)).all()


def test_the_default_study_has_equal_classes() -> None:
    labels = np.arange(5000) // 500  # mnist5k's
    split = cut(labels, validation=500, test=1000, seed=0)
    assert {name: len(rows) for name, rows in split.items()} == {"train": 3500, "validation": 500, "test": 1000}
    for rows in split.values():
        assert np.bincount(labels[rows]).tolist() == [len(rows) // 10] * 10
        assert np.bincount(labels[rows[:100]]).tolist() == [10] * 10


def test_the_order_depends_on_the_seed_alone() -> None:
    labels = np.arange(300) % 3
    np.testing.assert_array_equal(stratified_order(labels, 1), stratified_order(labels.copy(), 1))
    assert (stratified_order(labels, 1) != stratified_order(labels, 2)).any()


def test_test_images_stay_the_same_when_other_sizes_change() -> None:
    labels = np.arange(300) % 3
    one = cut(labels, validation=30, test=60, seed=3)
    two = cut(labels, validation=90, test=60, seed=3)
    smaller = cut(labels, validation=30, test=20, seed=3)
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
def test_the_order_equals_that_of_a_plain_loop(labels: np.ndarray, seed: int) -> None:
    assert stratified_order(labels, seed).tolist() == order_by_loop(labels.tolist(), seed)


def test_the_order_is_what_it_always_was() -> None:
    """This order must never change: the test images of every published result depend on it."""
    assert stratified_order(np.arange(12) % 3, 0).tolist() == GOLDEN_SMALL
    order = stratified_order(np.arange(5000) // 500, 0).astype("<i8")
    assert hashlib.sha256(order.tobytes()).hexdigest() == GOLDEN_LARGE


@pytest.mark.parametrize(("validation", "test"), [(10, 18), (28, 1), (1, 30), (100, 100)])
def test_too_few_images_left_for_training_are_refused(validation: int, test: int) -> None:
    with pytest.raises(UserError, match=r"data\.validation.*data\.test.*of 30 images"):
        cut(np.arange(30) % 3, validation=validation, test=test, seed=0)


def test_one_training_image_per_class_is_enough() -> None:
    split = cut(np.arange(30) % 3, validation=12, test=15, seed=0)
    assert sorted(split["train"] % 3) == [0, 1, 2]


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.seed"):
        cut(np.arange(30) % 3, validation=3, test=3, seed=-1)


def test_a_smaller_training_split_is_a_prefix_of_the_full_one() -> None:
    labels = np.arange(300) % 3
    whole = cut(labels, validation=30, test=60, seed=3)
    few = cut(labels, train=99, validation=30, test=60, seed=3)
    np.testing.assert_array_equal(few["train"], whole["train"][:99])
    np.testing.assert_array_equal(few["test"], whole["test"])
    assert np.bincount(labels[few["train"]]).tolist() == [33] * 3


def test_the_validation_split_may_be_empty() -> None:
    split = cut(np.arange(30) % 3, validation=0, test=6, seed=0)
    assert {name: len(rows) for name, rows in split.items()} == {"train": 24, "validation": 0, "test": 6}


LABELS = {"train": np.arange(60) % 3, "validation": np.arange(12) % 3, "test": np.arange(30) % 3}


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "validation"), ("train", "validation", "test")])
@pytest.mark.parametrize("test", [9, 30])
def test_each_part_of_the_source_gives_the_split_of_its_name(parts: tuple[str, ...], test: int) -> None:
    """Rows are counted through the parts; the order within each is that of the part by itself."""
    split = split_rows({name: LABELS[name] for name in parts}, train=15, validation=12, test=test, seed=7)
    start, order = 0, {}
    for name in parts:
        order[name] = (start + stratified_order(LABELS[name], 7)).tolist()
        start += len(LABELS[name])
    if "test" not in parts:
        order["test"], order["train"] = order["train"][:test], order["train"][test:]
    if "validation" not in parts:
        order["validation"], order["train"] = order["train"][:12], order["train"][12:]
    assert {name: rows.tolist() for name, rows in split.items()} == {
        "train": order["train"][:15],
        "validation": order["validation"][:12],
        "test": order["test"][:test],
    }
    assert list(split) == ["train", "validation", "test"]


def test_all_means_every_image_in_stratified_order() -> None:
    split = split_rows(LABELS, train="all", validation=0, test="all", seed=1)
    assert sorted(split["test"]) == list(range(72, 102))
    assert (np.sort(split["test"].reshape(10, 3) % 3, axis=1) == np.arange(3)).all()
    assert sorted(split["train"]) == list(range(60))  # the source's own validation part is not trained on


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"parts": ["train"], "test": "all"}, "data.test: the source has no test part of its own; give a number"),
        ({"test": 31}, "data.test: 31 images are requested, but there are 30"),
        ({"validation": 13}, "data.validation: 13 images are requested, but there are 12"),
        ({"train": 61}, "data.train: 61 images are requested, but there are 60"),
        ({"parts": ["train", "test"], "train": 60}, "data.train: 60 images are requested, but there are 55"),
        ({"train": 2}, "data.train: 2 images; at least 3"),
        ({"parts": ["train", "test"], "validation": 58}, "data.validation 58 leaves 2 of 60 images for training"),
    ],
)
def test_asking_for_more_images_than_there_are_is_refused(changes: dict, says: str) -> None:
    wanted: dict = {"parts": list(LABELS), "train": "all", "validation": 5, "test": "all", "seed": 0} | changes
    labels = {name: LABELS[name] for name in wanted.pop("parts")}
    with pytest.raises(UserError, match=says):
        split_rows(labels, **wanted)
