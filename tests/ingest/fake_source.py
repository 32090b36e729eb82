"""Sources for tests. Worker processes import this module, so it imports no torch."""

from __future__ import annotations

import errno
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ssmlab.core.errors import UserError
from ssmlab.data.header import PartName
from ssmlab.ingest.source import Part, Source
from ssmlab.ingest.splits import split_rows
from ssmlab.ingest.workdir import workdir_beside
from ssmlab.ingest.writer import write_dataset


@dataclass(frozen=True)
class Made:
    """Images that are computed from their row numbers, with a record of the processes that decoded them.

    Attributes:
        shape: (C, H, W).
        first: the number of the part's first row.
        damaged: a row that cannot be read.
        full: a row at which the disk is full.
        log: a folder where each process that reads leaves a file: its pid, and in it whether it has loaded torch.
    """

    shape: tuple[int, int, int]
    first: int = 0
    damaged: int | None = None
    full: int | None = None
    log: Path | None = None

    def read(self, rows: np.ndarray) -> np.ndarray:
        if self.log is not None:
            (self.log / str(os.getpid())).write_text(str("torch" in sys.modules))
        if self.damaged in rows:
            raise UserError(f"train/{self.damaged}.png: damaged; fetch the archive again")
        if self.full in rows:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return images_of(rows + self.first, self.shape)


def images_of(rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The images at `rows`, counted through all parts, (n, *shape)."""
    pixels = np.arange(np.prod(shape)).reshape(shape)
    return ((rows.reshape(-1, 1, 1, 1) * 31 + pixels * 7 + rows.reshape(-1, 1, 1, 1) // 256 * 5) % 251).astype(np.uint8)


def made_source(
    sizes: dict[PartName, int],
    shape: tuple[int, int, int] = (3, 4, 5),
    *,
    encoded: bool = True,
    name: str = "made",
    damaged: int | None = None,
    full: int | None = None,
    log: Path | None = None,
) -> Source:
    """A source of `Made` images with three classes."""
    parts: dict[PartName, Part] = {}
    first = 0
    for part, n in sizes.items():
        parts[part] = Part(np.arange(first, first + n) % 3, Made(shape, first, damaged, full, log), encoded)
        first += n
    return Source(name, "made up", "own", ("ant", "bée", 'a "cat"\n'), shape, parts)


@dataclass(frozen=True)
class Jpegs:
    """JPEG files one after the other in one file, `bounds[i]` to `bounds[i + 1]` being the i-th; RGB."""

    file: Path
    bounds: tuple[int, ...]

    def read(self, rows: np.ndarray) -> np.ndarray:
        with self.file.open("rb") as file:
            return np.stack([self.image(file, int(row)) for row in rows])

    def image(self, file: io.BufferedReader, row: int) -> np.ndarray:
        file.seek(self.bounds[row])
        with Image.open(io.BytesIO(file.read(self.bounds[row + 1] - self.bounds[row]))) as image:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def jpegs_in(folder: Path) -> Jpegs:
    return Jpegs(folder / "jpegs", tuple(np.load(folder / "bounds.npy").tolist()))


def prepare_jpegs(folder: Path, path: Path, n: int, *, seed: int, processes: int) -> None:
    """Write the first `n` of the JPEGs in `folder`, labelled in turn, to `path`."""
    part = Part(np.arange(n) % 10, jpegs_in(folder), encoded=True)
    source = Source("jpegs", "made up", "own", tuple("0123456789"), (3, 64, 64), {"train": part})
    rows = split_rows({"train": part.labels}, train="all", validation=500, test=1000, seed=seed)
    with workdir_beside(path) as workdir:
        write_dataset(path, source, rows, seed, workdir, processes=processes)
