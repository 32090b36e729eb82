"""From the section `data` to a source: its name, what is selected from it, and every request that is refused."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssmlab.core.errors import UserError
from ssmlab.ingest import open_source as sources
from ssmlab.ingest.catalog import CATALOG, CatalogEntry, Download
from ssmlab.ingest.open_source import open_path, open_source
from ssmlab.ingest.source import Source
from ssmlab.params import DataParams
from tests.ingest.layouts import (
    Files,
    as_folder,
    as_tar,
    as_zip,
    cifar_binary,
    idx,
    idx_files,
    image_files,
    npz_files,
    tiny_files,
    wanted,
)

DIGITS = tuple("0123456789")
TWENTY = CatalogEntry("twenty", "Twenty", "idx", DIGITS, (1, 5, 5), {"train": 20, "test": 10})


def opened(params: DataParams, workdir: Path) -> Source:
    with open_source(params, workdir) as source:
        return source


def at(path: Path, known: CatalogEntry | None, workdir: Path, **others) -> Source:
    with open_path(path, known, wanted(path, known.name if known else "mine", **others), workdir) as source:
        return source


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# --- which source ---


@pytest.mark.parametrize("where", ["auto", "embedded"])
def test_mnist5k_comes_from_its_package(where: str, workdir: Path) -> None:
    source = opened(wanted(where, "mnist5k"), workdir)
    assert (source.name, source.provenance, source.image_shape) == ("mnist5k", "partial", (1, 28, 28))
    assert source.class_names == DIGITS
    assert len(source.parts["train"]) == 5000


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (wanted("auto", "mnist6k"), r"^data.name: mnist6k is not known .did you mean .mnist5k.\?.*PATH of an archive"),
        (wanted("embedded", "cifar10"), r"^data.source: cifar10 is not embedded, only mnist5k is"),
        (wanted("embedded", "mnist6k"), r"^data.source: mnist6k is not embedded"),
        (wanted("fetch", "mnist6k"), r"^mnist6k: not a data set of the catalogue"),
        (wanted("fetch", "mnist5k"), r"part of a Python package, so there is nothing to download"),
        (wanted("no/such/path", "mnist"), r"^no/such/path: there is no such folder or file"),
        (wanted("~/no-such-path", "mnist"), r"^/.*no-such-path: there is no such folder or file"),
        (wanted("~no-such-user/x", "mnist"), r"^~no-such-user/x: there is no such home folder; write the whole path"),
    ],
)
def test_a_source_that_cannot_be_had_is_one_line(params: DataParams, message: str, workdir: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        opened(params, workdir)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("archives", ["one", "several"])
def test_fetched_archives_are_opened(archives: str, tmp_path: Path, workdir: Path, monkeypatch) -> None:
    folder = tmp_path / "cache" / "twenty"
    folder.mkdir(parents=True)
    if archives == "one":
        as_zip(idx_files(), folder / "twenty.zip")
    else:
        as_folder(idx_files(), folder)
    (folder / "fetched.json").write_text("{}")
    downloads = tuple(
        Download(path.name, "http://x", hashlib.md5(path.read_bytes()).hexdigest())
        for path in sorted(folder.iterdir())
        if path.name != "fetched.json"
    )
    known = CatalogEntry("twenty", "Twenty", "idx", DIGITS, (1, 5, 5), {"train": 20, "test": 10}, downloads)
    monkeypatch.setattr(sources, "CATALOG", {"twenty": known})
    monkeypatch.setattr(sources, "look_up", {"twenty": known}.__getitem__)
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(sources, "fetch", lambda known, cache, listen: cache / known.name)
    for where in ("auto", "fetch"):
        for each in workdir.iterdir():
            each.unlink()
        source = opened(wanted(where, "twenty"), workdir)
        assert source.provenance == "official"
        assert "official by its publisher's checksum of the archive" in source.description


def test_one_archive_with_another_checksum_is_not_the_publishers(tmp_path: Path, workdir: Path) -> None:
    folder = as_folder(idx_files(), tmp_path / "x")
    right = [Download(name, "http://x", hashlib.md5(content).hexdigest()) for name, content in idx_files().items()]
    known = CatalogEntry("twenty", "Twenty", "idx", DIGITS, (1, 5, 5), {"train": 20, "test": 10}, tuple(right))
    assert "publisher's checksum" in at(folder, known, workdir).description
    wrong = Download(right[0].file, "http://x", "0" * 32)
    known = CatalogEntry("twenty", "Twenty", "idx", DIGITS, (1, 5, 5), {"train": 20, "test": 10}, (wrong, *right[1:]))
    assert "no checksum was compared" in at(folder, known, workdir).description


def test_an_unknown_layout_is_refused_with_its_files_and_the_known_layouts(tmp_path: Path, workdir: Path) -> None:
    path = as_zip({"a": b"1", "b": b"", "c": b"", "d": b""}, tmp_path / "x.zip")
    with pytest.raises(UserError, match=r"x.zip: holds a, b, c ...: not a known layout \(IDX, CIFAR"):
        at(path, None, workdir)
    with pytest.raises(UserError, match="holds nothing: not a known layout"):
        at(as_zip({}, tmp_path / "empty.zip"), None, workdir)


# --- what it may be called ---


def test_all_images_with_known_checksums_are_official(tmp_path: Path, workdir: Path) -> None:
    files = idx_files()
    content = {name: sha256(data) for name, data in files.items()}
    known = CatalogEntry("twenty", "Twenty", "idx", DIGITS, (1, 5, 5), {"train": 20, "test": 10}, content=content)
    source = at(as_tar(files, tmp_path / "x.tar.gz", "gz"), known, workdir)
    assert (source.name, source.provenance, source.class_names) == ("twenty", "official", DIGITS)
    assert source.description == (
        "Twenty: 20 training and 10 test images, from x.tar.gz; official by the checksums of its content"
    )


def test_complete_images_without_known_checksums_say_that_none_was_compared(tmp_path: Path, workdir: Path) -> None:
    source = at(as_tar(idx_files(), tmp_path / "x.tar"), TWENTY, workdir)
    assert source.provenance == "official"
    assert source.description.endswith("official by layout and counts; no checksum was compared")


def test_one_pixel_changed_is_refused(tmp_path: Path, workdir: Path) -> None:
    files = idx_files()
    content = {name: sha256(data) for name, data in files.items()}
    known = CatalogEntry("twenty", "Twenty", "idx", DIGITS, (1, 5, 5), {"train": 20, "test": 10}, content=content)
    name = "t10k-images-idx3-ubyte"
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with pytest.raises(UserError, match=rf"x: {name}: its checksum differs from that of Twenty; give data.n"):
        at(as_folder(files, tmp_path / "x"), known, workdir)


def test_fewer_images_are_partial(tmp_path: Path, workdir: Path) -> None:
    source = at(as_folder(idx_files(train=10), tmp_path / "x"), TWENTY, workdir)
    assert (source.name, source.provenance) == ("twenty", "partial")
    assert source.description == (
        "a part of Twenty: 10 of 20 training and 10 test images, from x; no checksum is known of a part"
    )
    files = {name: content for name, content in idx_files().items() if "train" in name}
    (tmp_path / "more").mkdir()
    source = at(as_folder(files, tmp_path / "y"), TWENTY, tmp_path / "more")
    assert source.provenance == "partial"
    assert "20 training and 0 of 10 test images" in source.description


def test_fewer_classes_are_partial(tmp_path: Path, workdir: Path) -> None:
    source = at(as_folder(tiny_files(), tmp_path / "x"), CATALOG["tiny-imagenet"], workdir)
    assert (source.name, source.provenance) == ("tiny-imagenet", "partial")
    assert "6 of 100,000 training and 3 of 10,000 test images, 3 of 200 classes" in source.description


def test_known_images_in_another_layout_have_another_name(tmp_path: Path, workdir: Path) -> None:
    source = at(as_folder(image_files(), tmp_path / "x"), CATALOG["cifar10"], workdir, size=32, channels=3)
    assert (source.name, source.provenance) == ("cifar10-png", "re-encoded")
    assert source.description.startswith("CIFAR-10 re-encoded (png files), which is not CIFAR-10 itself: 6 of 50,000")
    (tmp_path / "more").mkdir()
    jpegs = image_files(kind="JPEG") | {"train/cat/x.png": image_files()["train/cat/0.png"]}
    source = at(as_folder(jpegs, tmp_path / "y"), CATALOG["cifar10"], tmp_path / "more")
    assert source.name == "cifar10-mixed"
    (tmp_path / "again").mkdir()
    source = at(as_zip(npz_files(), tmp_path / "z.npz"), TWENTY_WITH_VALIDATION, tmp_path / "again")
    assert (source.name, source.provenance) == ("twenty-npz", "re-encoded")


def test_images_of_other_classes_are_not_a_re_encoding(tmp_path: Path, workdir: Path) -> None:
    """CIFAR-10 as JPEG under the name `mnist` was once called mnist-jpeg."""
    with pytest.raises(UserError, match="has a class cat that MNIST does not have; give"):
        at(as_folder(image_files(), tmp_path / "x"), CATALOG["mnist"], workdir)


TWENTY_WITH_VALIDATION = CatalogEntry(
    "twenty", "Twenty", "idx", DIGITS, (1, 5, 5), {"train": 20, "validation": 10, "test": 10}
)


def test_an_unknown_name_is_called_own(tmp_path: Path, workdir: Path) -> None:
    source = at(as_folder(image_files(("train/", "val/", "test/")), tmp_path / "birds"), None, workdir)
    assert (source.name, source.provenance) == ("mine", "own")
    assert source.description == "own images from birds: 6 training, 6 validation and 6 test images"
    assert list(source.parts) == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (idx_files(train=30), r"has 30 training images, but Twenty only 20; give data.name a name of your own"),
        (idx_files(side=6), r"its images are 1 x 6 x 6, but those of Twenty are 1 x 5 x 5"),
        (idx_files(train=20, test=10) | {"train-labels-idx1-ubyte": idx(np.arange(20, dtype=np.uint8))}, "label 19"),
        (image_files(classes=tuple("abcdefghijk"), count=1), r"has 11 classes, but Twenty has 10"),
        (image_files(("train/", "val/")), r"has 6 validation images, but Twenty only 0"),
    ],
)
def test_images_that_cannot_be_the_known_data_set_are_refused(
    files: Files, message: str, tmp_path: Path, workdir: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        at(as_folder(files, tmp_path / "x"), TWENTY, workdir)
    assert "\n" not in str(caught.value)


def test_an_embedded_data_set_takes_no_path(tmp_path: Path, workdir: Path) -> None:
    with pytest.raises(UserError, match=r"part of a Python package and cannot be read .* another data\.name$"):
        opened(wanted(as_folder(idx_files(), tmp_path / "x"), "mnist5k"), workdir)


# --- what is cut from it ---


LAYOUTS: dict[str, Callable[[], Files]] = {
    "idx": lambda: idx_files(train=40, test=20),
    "cifar": lambda: cifar_binary({"data_batch_1.bin": 30, "test_batch.bin": 20}),
    "npz": npz_files,
    "tiny": lambda: tiny_files(count=3),
    "folder": lambda: image_files(count=3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_first_classes_are_kept(layout: str, tmp_path: Path, workdir: Path) -> None:
    path = as_folder(LAYOUTS[layout](), tmp_path / "x")
    whole = at(path, None, workdir)
    (tmp_path / "more").mkdir()
    two = at(path, None, tmp_path / "more", classes=2)
    assert two.class_names == whole.class_names[:2]
    assert two.image_shape == whole.image_shape
    assert two.description.endswith(f"; the first 2 of {len(whole.class_names)} classes")
    for part, images in two.parts.items():
        rows = np.flatnonzero(whole.parts[part].labels < 2)
        np.testing.assert_array_equal(images.labels, whole.parts[part].labels[rows])
        back = np.arange(len(rows))[::-1]
        np.testing.assert_array_equal(images.images.read(back), whole.parts[part].images.read(rows[back]))
    with pytest.raises(UserError, match=r"data.classes: 11 are requested, but there are \d"):
        at(path, None, workdir, classes=11)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("others", [{"size": 4}, {"channels": 1}, {"channels": 3}, {"size": 70, "channels": 1}])
def test_images_get_the_requested_size_and_channels(
    layout: str, others: dict[str, int], tmp_path: Path, workdir: Path
) -> None:
    path = as_folder(LAYOUTS[layout](), tmp_path / "x")
    whole = at(path, None, workdir)
    (tmp_path / "more").mkdir()
    source = at(path, None, tmp_path / "more", **others)
    size = others.get("size", whole.image_shape[1])
    assert source.image_shape == (others.get("channels", whole.image_shape[0]), size, size)
    for part in pickle.loads(pickle.dumps(source.parts)).values():
        read = part.images.read(np.array([1, 0]))
        assert read.shape == (2, *source.image_shape)
        assert read.dtype == np.uint8
        assert part.encoded or source.image_shape == whole.image_shape


def test_mnist5k_can_be_reduced_too(workdir: Path) -> None:
    source = opened(wanted("auto", "mnist5k", classes=3, size=14), workdir)
    assert (source.image_shape, source.class_names) == ((1, 14, 14), ("0", "1", "2"))
    assert np.bincount(source.parts["train"].labels).tolist() == [500] * 3
    assert source.description.endswith("; the first 3 of 10 classes; cut and scaled to 14 x 14")
    images = opened(wanted("auto", "mnist5k"), workdir).parts["train"].images.read(np.arange(9))
    small = source.parts["train"].images.read(np.arange(9))
    pooled = images.reshape(9, 14, 2, 14, 2).mean(axis=(2, 4))
    assert np.abs(pooled - small[:, 0]).mean() < 8  # another filter, the same digits in the same places


def test_every_part_needs_every_class(tmp_path: Path, workdir: Path) -> None:
    with pytest.raises(UserError, match="twenty has no test images of the class 4; every part needs every class"):
        at(as_folder(idx_files(test=4), tmp_path / "x"), TWENTY, workdir)


def test_one_class_alone_is_refused(tmp_path: Path, workdir: Path) -> None:
    """Every model is right about all of its images."""
    with pytest.raises(UserError, match="x: has images of one class only"):
        at(as_folder(idx_files(classes=1), tmp_path / "x"), None, workdir)


@pytest.mark.parametrize("names", [("\u00e9", "e\u0301"), ("cat", " cat"), ("a  b", "a b")])
def test_classes_that_are_shown_by_one_name_are_refused(names: tuple[str, str], tmp_path: Path, workdir: Path) -> None:
    with pytest.raises(UserError, match="x: has 2 classes that are all shown as "):
        at(as_folder(image_files(classes=names), tmp_path / "x"), None, workdir)


def test_parts_come_in_the_order_train_validation_test(tmp_path: Path, workdir: Path) -> None:
    source = at(as_folder(image_files(("test/", "val/", "train/")), tmp_path / "x"), None, workdir)
    assert list(source.parts) == ["train", "validation", "test"]


def test_the_order_of_images_is_that_of_their_names(tmp_path: Path, workdir: Path) -> None:
    files = image_files(count=12)
    forward, backward = (
        as_tar(dict(order), tmp_path / f"{n}.tar") for n, order in enumerate((files.items(), reversed(files.items())))
    )
    read = [at(path, None, workdir).parts["train"].images.read(np.arange(36)) for path in (forward, backward)]
    np.testing.assert_array_equal(*read)


def test_workers_need_no_torch() -> None:
    code = "import sys, ssmlab.ingest.open_source; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- data sets that lie elsewhere on each machine ---


def test_a_relative_source_is_found_in_the_project_first_and_then_in_the_folder_of_the_environment(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, sets = tmp_path / "project", tmp_path / "sets"
    project.mkdir()
    (sets / "deep").mkdir(parents=True)
    as_zip(idx_files(20, 10), sets / "deep" / "twenty.zip")
    monkeypatch.chdir(project)
    monkeypatch.setenv("SSMLAB_DATA", str(sets))
    assert len(opened(wanted("deep/twenty.zip", "mine"), workdir).parts["train"].labels) == 20
    (project / "deep").mkdir()
    as_zip(idx_files(30, 10), project / "deep" / "twenty.zip")
    assert len(opened(wanted("deep/twenty.zip", "mine"), workdir).parts["train"].labels) == 30


def test_a_source_that_is_in_neither_place_is_refused_with_both(
    tmp_path: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSMLAB_DATA", str(tmp_path))
    with pytest.raises(UserError, match=rf"^no/such: there is no .* here, and no {tmp_path}/no/such \(SSMLAB_DATA is "):
        opened(wanted("no/such", "mine"), workdir)
