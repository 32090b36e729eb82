"""CIFAR's two versions give the same images, and any other file is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ssmlab.core.errors import UserError
from ssmlab.ingest.archives import open_members
from ssmlab.ingest.formats import cifar
from ssmlab.ingest.formats.base import Layout
from tests.ingest.layouts import CONTAINERS, Files, as_folder, cifar_binary, cifar_python, pixels
from tests.ingest.test_safe_pickle import python2

BATCHES = {f"data_batch_{number}": 10 + number for number in range(1, 6)} | {"test_batch": 12}
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FINE = [f"fine {number}" for number in range(100)]
LAYOUTS: dict[str, Files] = {
    "10 python": cifar_python(BATCHES) | {"batches.meta": pickle.dumps({"label_names": NAMES}, 2), "readme.html": b""},
    "10 binary": cifar_binary({f"{name}.bin": count for name, count in BATCHES.items()})
    | {"batches.meta.txt": "\n".join([*NAMES, ""]).encode()},
    "100 python": cifar_python({"train": 300, "test": 100}, "fine_labels", 100)
    | {"meta": pickle.dumps({"fine_label_names": FINE, "coarse_label_names": ["x"]}, 2), "file.txt~": b""},
    "100 binary": cifar_binary({"train.bin": 300, "test.bin": 100}, 2, 100)
    | {"fine_label_names.txt": "\n".join(FINE).encode()},
}


def found(files: Files, tmp_path: Path, workdir: Path, container: str = "folder") -> Layout:
    result = cifar.detect(open_members(CONTAINERS[container](files, tmp_path / "data"), workdir))
    assert result is not None
    return result


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("container", ["folder", "tar.gz", "zip"])
def test_both_versions_give_the_same_images_labels_and_names(
    layout: str, container: str, tmp_path: Path, workdir: Path
) -> None:
    files = {f"wrapped/{name}": content for name, content in LAYOUTS[layout].items()}
    result = found(files, tmp_path, workdir, container)
    ten = layout.startswith("10 ")
    counts = list(BATCHES.values()) if ten else [300, 100]
    images = [pixels(count, (3, 32, 32), seed) for seed, count in enumerate(counts)]
    labels = [np.arange(count) % (10 if ten else 100) for count in counts]
    assert (result.name, result.image_shape) == ("cifar", (3, 32, 32))
    assert result.class_names == tuple(NAMES if ten else FINE)
    for part, rows in (("train", slice(0, -1)), ("test", slice(-1, None))):
        expected = np.concatenate(images[rows])
        np.testing.assert_array_equal(result.parts[part].labels, np.concatenate(labels[rows]))
        np.testing.assert_array_equal(result.parts[part].images.read(np.arange(len(expected))), expected)
        some = np.random.default_rng(0).permutation(len(expected))[:9]
        np.testing.assert_array_equal(result.parts[part].images.read(some), expected[some])


def test_pickles_of_python_2_are_read(tmp_path: Path, workdir: Path) -> None:
    data = pixels(20, (3072,))
    batch = python2({"data": data, "labels": [row % 10 for row in range(20)]})
    result = found({"data_batch_1": batch}, tmp_path, workdir)
    np.testing.assert_array_equal(result.parts["train"].images.read(np.arange(20)).reshape(20, 3072), data)


@pytest.mark.parametrize("layout", ["10 python", "10 binary"])
def test_missing_batches_and_names_are_allowed(layout: str, tmp_path: Path, workdir: Path) -> None:
    files = {name: content for name, content in LAYOUTS[layout].items() if "batch_2" in name or "batch_4" in name}
    result = found(files, tmp_path, workdir)
    assert len(result.parts["train"]) == 12 + 14
    assert list(result.parts) == ["train"]
    assert result.class_names == tuple("0123456789")


def test_a_file_that_shrinks_between_two_reads_is_an_error(tmp_path: Path, workdir: Path) -> None:
    images = found(LAYOUTS["10 binary"], tmp_path, workdir).parts["test"].images
    path = tmp_path / "data" / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"test_batch\.bin: has changed while it was read"):
        images.read(np.array([0]))


def test_other_files_are_not_taken_for_cifar(tmp_path: Path, workdir: Path) -> None:
    members = open_members(as_folder({"train/cat/1.png": b"1", "test/cat/1.png": b""}, tmp_path / "data"), workdir)
    assert cifar.detect(members) is None


class Evil:
    def __reduce__(self):
        return (open, ("evil", "w"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({"data_batch_1.bin": bytes(3073 * 2 - 1)}, "not whole records of 3,073", id="cut short"),
        pytest.param({"data_batch_1.bin": b""}, "not whole records", id="empty"),
        pytest.param({"data_batch_1.bin": b"\x0a" + bytes(3072)}, "labels outside 0 to 9", id="label 10"),
        pytest.param({"train.bin": b"\x00\x64" + bytes(3072)}, "labels outside 0 to 99", id="label 100"),
        pytest.param({"data_batch_1": b"no pickle"}, "is not a CIFAR pickle", id="no pickle"),
        pytest.param({"data_batch_1": pickle.dumps(Evil(), 2)}, r"refers to \w+.open\); it was not loaded", id="evil"),
        pytest.param({"data_batch_1": pickle.dumps([1, 2])}, "has no `data`", id="a list"),
        pytest.param({"data_batch_1": pickle.dumps({"data": pixels(2, (3071,))}, 2)}, "has no `data`", id="3,071"),
        pytest.param(
            {"data_batch_1": pickle.dumps({"data": pixels(2, (3072,))}, 2)}, "has no `labels`", id="no labels"
        ),
        pytest.param(
            {"data_batch_1": pickle.dumps({"data": pixels(2, (3072,)), "labels": [1]}, 2)},
            "one label per image",
            id="1 label",
        ),
        pytest.param(
            {"data_batch_1": pickle.dumps({"data": pixels(1, (3072,)), "labels": [10]}, 2)}, "outside", id="10 again"
        ),
        pytest.param(
            {"data_batch_1": pickle.dumps({"data": pixels(1, (3072,)), "labels": ["1"]}, 2)}, "outside", id="a text"
        ),
        pytest.param(
            LAYOUTS["10 python"] | {"batches.meta": pickle.dumps(Evil(), 2)}, "batches.meta: is not", id="meta"
        ),
        pytest.param(
            LAYOUTS["10 binary"] | {f"x/{n}": b"" for n in range(64)}, "too many for CIFAR; remove those", id="many"
        ),
    ],
)
def test_files_that_are_not_cifars_are_refused(files: Files, message: str, tmp_path: Path, workdir: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        found(files, tmp_path, workdir)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'data'}: ")
    assert not Path("evil").exists()
