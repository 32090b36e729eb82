"""A disk that fails under a file (EIO) is one line that names the file, wherever data are read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssmlab.core.errors import UserError
from ssmlab.data.dataset import load_dataset, make_dataset, save_dataset
from ssmlab.data.header import SPLITS, read_data_summary
from ssmlab.ingest.archives import open_members
from ssmlab.ingest.formats.encoded import EncodedImages, read_header
from ssmlab.ingest.formats.records import RecordImages
from ssmlab.ingest.unpack import ByteRange
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
