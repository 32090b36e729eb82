"""A disk that fails under a file (EIO) is one line that names the file, wherever data are read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssmlab.core.errors import UserError
from ssmlab.data.content_check import read_checked_summary
from ssmlab.data.dataset import load_dataset, make_dataset, save_dataset
from ssmlab.data.header import SPLITS, read_data_summary
from ssmlab.ingest.archives import open_members
from ssmlab.ingest.formats.encoded import EncodedImages, read_header
from ssmlab.ingest.formats.records import RecordImages
from ssmlab.ingest.unpack import ByteRange
from ssmlab.project.own_digests import check_prepared
from tests.ingest.layouts import as_zip
from tests.stages.train.toy_training import split
from tests.unreadable import unreadable


def fail(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return as_zip({"a/b": b"1"}, tmp_path / "data.zip")


@pytest.mark.parametrize("read", [load_dataset, read_data_summary])
def test_a_failing_disk_under_prepared_data_is_one_line(read: Callable[[Path], object], file: Path) -> None:
    with unreadable(file), pytest.raises(UserError, match=rf"^{file}: .*Input/output error.*`ssmlab prepare` again$"):
        read(file)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"),
        (RuntimeError("unable to mmap 4 bytes: Input/output error (5)"), "unable to mmap 4 bytes"),  # torch's
        (FileNotFoundError("No such file"), "it cannot be opened"),  # safetensors' for every reason
    ],
)
def test_prepared_data_that_cannot_be_mapped_are_one_line(
    error: Exception, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy.safetensors"
    save_dataset(path, make_dataset("toy", 3, {name: split(5, seed) for seed, name in enumerate(SPLITS)}))

    def fail_to_map(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("ssmlab.core.tensors.safe_open", fail_to_map)
    with pytest.raises(UserError, match=rf"^{path}: not a complete prepared data set \({says}"):
        load_dataset(path)


@pytest.mark.parametrize("read", [load_dataset, check_prepared])
def test_a_page_of_prepared_data_that_cannot_be_read_is_one_line(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy.safetensors"
    save_dataset(path, make_dataset("toy", 3, {name: split(5, seed) for seed, name in enumerate(SPLITS)}))
    read(path)
    monkeypatch.setattr("ssmlab.data.content_check.pieces", fail)
    monkeypatch.setattr("ssmlab.core.tensors.safe_open", lambda *_, **__: pytest.fail("mapped before it was read"))
    with pytest.raises(UserError, match=rf"^{path}: not a complete prepared data set \(Input/output error\)"):
        read(path)


def test_prepared_data_that_are_replaced_while_they_are_read_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy.safetensors"

    def save(first_seed: int) -> None:
        splits = {name: split(5, seed) for seed, name in enumerate(SPLITS, first_seed)}
        save_dataset(path, make_dataset("toy", 3, splits))

    def check_then_replace(path: Path) -> object:
        checked = read_checked_summary(path)
        save(10)
        return checked

    save(0)
    monkeypatch.setattr("ssmlab.data.dataset.read_checked_summary", check_then_replace)
    with pytest.raises(UserError, match=rf"^{path}: .*replaced while it was read"):
        load_dataset(path)


def test_a_failing_disk_under_an_archive_is_one_line(
    file: Path, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pathlib.Path.open", fail)
    with pytest.raises(UserError, match=rf"^{file}: cannot be read \(Input/output error\)$"):
        open_members(file, workdir)


def test_a_failing_disk_under_images_is_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = ByteRange("x.png", file, 0, 4)
    monkeypatch.setattr("pathlib.Path.open", fail)
    monkeypatch.setattr("numpy.memmap", fail)
    for read in (
        lambda: EncodedImages(file, (member,)).read(np.array([0])),
        lambda: read_header(file, member),
        lambda: RecordImages((member,), (1, 2, 2)).read(np.array([0])),
    ):
        with pytest.raises(UserError, match=rf"^{file}: cannot be read \(Input/output error\)$"):
            read()
