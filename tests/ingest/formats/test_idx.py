"""MNIST's layout: read from any container as it was written, and refused if its files contradict each other."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from ssmlab.core.errors import UserError
from ssmlab.ingest.archives import open_members
from ssmlab.ingest.formats import idx as idx_format
from ssmlab.ingest.formats.base import Layout
from tests.ingest.layouts import CONTAINERS, Files, as_folder, idx, idx_files, pixels


def found(files: Files, tmp_path: Path, workdir: Path, container: str = "folder") -> Layout:
    result = idx_format.detect(open_members(CONTAINERS[container](files, tmp_path / "data"), workdir))
    assert result is not None
    return result


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("gzipped", [False, True])
def test_images_and_labels_are_read_from_any_container(
    container: str, gzipped: bool, tmp_path: Path, workdir: Path
) -> None:
    files = {f"MNIST/{name}": content for name, content in idx_files().items()}
    if gzipped:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    result = found(files, tmp_path, workdir, container)
    assert (result.name, result.image_shape, list(result.parts)) == ("idx", (1, 5, 5), ["train", "test"])
    for part, count, seed in (("train", 20, 0), ("test", 10, 1)):
        assert result.parts[part].labels.tolist() == [row % 10 for row in range(count)]
        rows = np.array([count - 1, 0, 7, 7])
        images = result.parts[part].images.read(rows)
        np.testing.assert_array_equal(images, pixels(count, (1, 5, 5), seed)[rows])
        assert images.dtype == np.uint8
        assert not result.parts[part].encoded


def test_dotted_names_and_a_part_called_test_are_known(tmp_path: Path, workdir: Path) -> None:
    files = {name.replace("-idx", ".idx").replace("t10k", "test"): content for name, content in idx_files().items()}
    result = found(files, tmp_path, workdir)
    assert {part: len(images) for part, images in result.parts.items()} == {"train": 20, "test": 10}
    assert set(result.files) == {
        f"{part}-{what}-ubyte" for part in ("train", "test") for what in ("images-idx3", "labels-idx1")
    }


def test_the_test_part_may_be_missing(tmp_path: Path, workdir: Path) -> None:
    files = {name: content for name, content in idx_files().items() if name.startswith("train")}
    assert list(found(files, tmp_path, workdir).parts) == ["train"]


def test_other_files_are_not_taken_for_idx(tmp_path: Path, workdir: Path) -> None:
    assert idx_format.detect(open_members(as_folder({"x": b"1"}, tmp_path / "data"), workdir)) is None


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def changed(name: str, content: bytes | None) -> Files:
    files = idx_files()
    if content is None:
        del files[name]
    else:
        files[name] = content
    return files


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param(changed(LABELS, None), f"{IMAGES}: comes without its labels", id="no labels"),
        pytest.param(changed(IMAGES, None), f"{LABELS}: comes without its images", id="no images"),
        pytest.param(
            changed(LABELS, idx(np.zeros(19, np.uint8))), "has 20 images, but .* has 19 labels", id="19 labels"
        ),
        pytest.param(changed(IMAGES, idx(pixels(20, (25,)))), "not an IDX file of bytes with 3 axes", id="two axes"),
        pytest.param(changed(IMAGES, b""), "not an IDX file", id="empty"),
        pytest.param(changed(IMAGES, idx_files()[IMAGES][:13]), "not an IDX file", id="half a header"),
        pytest.param(changed(IMAGES, b"\0\0\x0d\x03" + idx_files()[IMAGES][4:]), "not an IDX file", id="floats"),
        pytest.param(changed(IMAGES, idx_files()[IMAGES][:-1]), "20 x 5 x 5 bytes and has 499", id="short"),
        pytest.param(changed(IMAGES, idx_files()[IMAGES] + b"1"), "20 x 5 x 5 bytes and has 501", id="long"),
        pytest.param(changed(IMAGES, b"\0\0\x08\x03" + b"\xff" * 12), "declares 4294967295 x", id="overflow"),
        pytest.param(changed(IMAGES, b"\0\0\x08\x03" + bytes(12)), "declares 0 x 0 x 0", id="none"),
        pytest.param(changed("t10k-images-idx3-ubyte", idx(pixels(10, (6, 6)))), "another shape", id="shapes"),
        pytest.param(idx_files() | {"test-images-idx3-ubyte": b"", "test-labels-idx1-ubyte": b""}, "second", id="two"),
        pytest.param(
            idx_files() | {f"other/{n}": b"" for n in range(61)}, "65 files, too many for IDX; remove those", id="many"
        ),
        pytest.param(
            changed(f"{IMAGES}.gz", b"no gzip") | {IMAGES: idx(pixels(20, (5, 5)))}, None, id="plain one wins"
        ),
        pytest.param(
            {name: content for name, content in idx_files().items() if "t10k" in name}, "without train", id="test alone"
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(
    files: Files, message: str | None, tmp_path: Path, workdir: Path
) -> None:
    if message is None:
        found(files, tmp_path, workdir)
        return
    with pytest.raises(UserError, match=message) as caught:
        found(files, tmp_path, workdir)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "data"))


def test_a_damaged_gzip_names_the_file(tmp_path: Path, workdir: Path) -> None:
    files = idx_files()
    packed = gzip.compress(files.pop(IMAGES))
    for content in (packed[:-4], packed[:40], b"no gzip"):
        folder = as_folder(files | {f"{IMAGES}.gz": content}, tmp_path / "data")
        with pytest.raises(UserError, match=rf"{IMAGES}.gz: (damaged|is not compressed)"):
            idx_format.detect(open_members(folder, workdir))
