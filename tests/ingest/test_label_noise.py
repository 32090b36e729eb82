"""Label noise: exactly as many wrong labels as asked for, in the training split alone, equal on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ssmlab.core.seeds import seed_of
from ssmlab.data.dataset import load_dataset
from ssmlab.data.header import LabelNoise, read_data_summary
from ssmlab.ingest.label_noise import add_label_noise
from ssmlab.ingest.workdir import workdir_beside
from ssmlab.ingest.writer import write_dataset
from ssmlab.params import DataParams
from tests.ingest.fake_source import made_source
from tests.ingest.test_writer import rows_of

GOLDEN = "959f93c5f0d16272"  # SHA-256, made by the first version of this code


@settings(deadline=None, max_examples=50)
@given(n=st.integers(1, 300), classes=st.integers(2, 12), fraction=st.floats(0, 1), seed=st.integers(0, 2**63 - 1))
def test_exactly_the_requested_number_of_labels_is_wrong(n: int, classes: int, fraction: float, seed: int) -> None:
    labels = np.random.default_rng(n).integers(0, classes, n)
    before = labels.copy()
    noisy = add_label_noise(labels, classes, fraction, seed)
    assert (noisy != labels).sum() == round(fraction * n)
    assert noisy.dtype == np.int64 and noisy.min() >= 0 and noisy.max() < classes
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(noisy, add_label_noise(labels, classes, fraction, seed))


def test_the_noise_equals_that_of_a_plain_loop() -> None:
    labels, classes, seed = [0, 2, 1, 1, 0, 2, 2, 0, 1, 0], 3, 5
    raw = [int(each) for each in np.random.PCG64(seed_of(seed, "label noise")).random_raw(20)]
    expected = list(labels)
    for row in sorted(range(10), key=lambda row: raw[row])[:4]:
        expected[row] = (labels[row] + 1 + raw[10 + row] % 2) % classes
    assert add_label_noise(np.array(labels), classes, 0.4, seed).tolist() == expected


def test_less_noise_is_part_of_more_noise() -> None:
    labels = np.arange(500) % 10
    little, much = (add_label_noise(labels, 10, fraction, 3) for fraction in (0.1, 0.4))
    wrong = little != labels
    np.testing.assert_array_equal(little[wrong], much[wrong])


def test_every_other_class_is_equally_likely() -> None:
    """Chi-squared over the shifts of 50,000 wrong labels; the limit has p = 1e-6."""
    labels = np.arange(50_000) % 5
    shifts = np.bincount((add_label_noise(labels, 5, 1.0, 0) - labels) % 5, minlength=5)
    assert shifts[0] == 0
    assert ((shifts[1:] - 12_500) ** 2 / 12_500).sum() < 30.7


def test_seeds_give_different_noise() -> None:
    labels = np.arange(300) % 3
    assert (add_label_noise(labels, 3, 0.5, 0) != add_label_noise(labels, 3, 0.5, 1)).any()


def test_the_noise_is_what_it_always_was() -> None:
    noisy = add_label_noise(np.arange(3500) % 10, 10, 0.2, 0).astype("<i8")
    assert hashlib.sha256(noisy.tobytes()).hexdigest()[:16] == GOLDEN


def written(path: Path, **options: object) -> Path:
    source = made_source({"train": 60, "test": 20})
    with workdir_beside(path) as workdir:
        write_dataset(path, source, rows_of(source), 5, workdir, **options)
    return path


def test_only_training_labels_change_and_the_description_says_so(tmp_path: Path) -> None:
    clean, noisy = load_dataset(written(tmp_path / "clean")), load_dataset(written(tmp_path / "noisy", noise=(0.25, 7)))
    for split in ("train", "validation", "test"):
        one, two = getattr(clean, split), getattr(noisy, split)
        assert torch.equal(one.images, two.images) and torch.equal(one.indices, two.indices)
        assert int((one.labels != two.labels).sum()) == (round(0.25 * len(one)) if split == "train" else 0)
    description = read_data_summary(tmp_path / "noisy").description
    assert description.name == "made-noise0.25"
    assert description.label_noise == LabelNoise(fraction=0.25, seed=7, changed=14)
    assert description.source == "made up; 14 of 57 training labels are wrong on purpose (label noise 0.25, seed 7)"
    assert clean.description.label_noise is None


def test_no_noise_gives_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "a").read_bytes() == written(tmp_path / "b", noise=(0.0, 9)).read_bytes()


def data_params(**others: object) -> DataParams:
    values = {"name": "x", "source": "auto", "train": "all", "validation": 0, "test": 5, "seed": 0, **others}
    return DataParams.model_validate_json(json.dumps(values))


def test_the_fraction_must_be_in_the_unit_interval() -> None:
    assert data_params(label_noise=1, label_noise_seed=3).label_noise == 1.0
    for wrong in (-0.1, 1.1, "some", True):
        with pytest.raises(ValidationError):
            data_params(label_noise=wrong)


def test_studies_without_noise_keep_the_fingerprint_of_their_settings() -> None:
    assert set(data_params().plain()) == {"name", "source", "train", "validation", "test", "seed"}
