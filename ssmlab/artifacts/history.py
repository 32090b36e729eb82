"""history.csv: one row an epoch, appended as whole lines, and a reader that follows the file while it grows."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from ssmlab.artifacts.manifest import HISTORY, MANIFEST, read_published
from ssmlab.core.errors import UserError


@dataclass(frozen=True)
class Row:
    """One epoch of a training.

    Attributes:
        epoch: from 1.
        step: optimiser steps taken since training began.
        lr: learning rate of the main parameter group at the epoch's first step.
        train_loss: mean loss over the epoch's training images, each before the step it led to.
        train_robust: accuracy in [0, 1] on the epoch's adversarial training images, under the regime's own attack while
            the weights move; None (an empty field) for a regime that trains on clean images.
        val_clean, val_robust: accuracies in [0, 1] on the selection split.
        seconds: wall-clock time of the epoch, validation included.
        images_per_second: training throughput, validation excluded.
        val_robust_loss: mean cross entropy on the attacked images behind `val_robust`.
        train_eval_robust: accuracy in [0, 1] on a fixed sample of the training images, as many as the selection split
            has, judged as that one is: same model, same attack, no augmentation. `train_eval_robust - val_robust` is
            the gap between training and validation; `train_robust` cannot be compared with `val_robust`.
        epochs: how many epochs were asked for.

    The last three are None in histories of versions that did not write them.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_robust: float | None
    val_clean: float
    val_robust: float
    seconds: float
    images_per_second: float
    val_robust_loss: float | None = None
    train_eval_robust: float | None = None
    epochs: int | None = None


COLUMNS = tuple(field.name for field in fields(Row))
HEADER = ",".join(COLUMNS)
OLD_COLUMNS = COLUMNS[:9]  # of versions 0.1.0 and earlier
OLD_HEADER = ",".join(OLD_COLUMNS)


class HistoryWriter:
    """Appends rows to a history.csv; a row is one `write`, so that a reader or a crash finds whole lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: Row) -> None:
        """Add one row, and the header before the first; raises UserError if the disk is full."""
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                header = "" if os.fstat(handle).st_size else HEADER + "\n"
                data = f"{header}{format_row(row)}\n".encode()
                written = os.write(handle, data)
            finally:
                os.close(handle)
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}); free some space and start again"
            ) from None
        if written < len(data):
            raise UserError(
                f"{self.path}: cannot be written completely (no space left?); free some space and start again"
            )


class HistoryReader:
    """Follows a history.csv that another process writes.

    Attributes:
        rows: every row of the file as it was at the last `poll`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self._seen = b""

    def poll(self) -> list[Row]:
        """The rows that have come since the last call, without a line that is still being written.

        A file that was removed, cut or replaced is read from its beginning, and `rows` starts over with it. Lines that
        are no rows (the tail of a crashed writer) are passed over. The file is read whole each time: it has a hundred
        bytes an epoch, and only so is a replacement of the same length noticed.
        """
        try:
            content = self.path.read_bytes()
        except OSError:
            content = b""
        if not content.startswith(self._seen):
            self._seen, self.rows = b"", []
        end = content.rfind(b"\n") + 1
        lines = content[len(self._seen) : end].decode(errors="replace").splitlines()
        self._seen = content[:end]
        new = [row for line in lines if (row := parse_row(line)) is not None]
        self.rows = self.rows + new
        return new


def read_history(path: Path) -> list[Row]:
    """All rows of a finished history.csv.

    Raises:
        UserError: the file is missing, has other columns, or holds a line that is not a row.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(f"{path}: no training history can be read there; train the run with `ssmlab train`") from None
    return parse_history(content, path)


def published_history(folder: Path) -> list[Row]:
    """The history of a trained run, of the very training whose checkpoints are beside it.

    Raises:
        UserError: there is none, or it is damaged or not of this training.
    """
    path = folder / HISTORY
    if (folder / MANIFEST).exists():
        return parse_history(read_published(folder)[1][HISTORY], path)
    return read_history(path)  # older versions wrote no manifest


def parse_history(content: bytes, path: Path) -> list[Row]:
    """The rows of a whole history.csv with these bytes; raises UserError, which calls it `path`, for anything else."""
    lines = content.decode(errors="replace").splitlines()
    if not lines or lines[0] not in (HEADER, OLD_HEADER):
        raise UserError(f"{path}: not a training history of this version (columns {HEADER}); train the run again")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        row = parse_row(line) if line.count(",") == lines[0].count(",") else None
        if row is None:
            raise UserError(f"{path}: line {number} is not a row of a training history; train the run again")
        rows.append(row)
    return rows


def format_history(rows: Sequence[Row]) -> str:
    """The history.csv of these rows, whole, as a HistoryWriter leaves it."""
    return "".join(f"{line}\n" for line in (HEADER, *map(format_row, rows)))


def format_row(row: Row) -> str:
    """A row as CSV, without a line end; numbers are written so that they are read back bit by bit."""
    return ",".join("" if value is None else repr(value) for value in astuple(row))


def parse_row(line: str) -> Row | None:
    """The row in one line of CSV, of this version or an older one; None for anything else (a header, half a line)."""
    cells = line.split(",")
    if len(cells) not in (len(COLUMNS), len(OLD_COLUMNS)):
        return None
    try:
        row = Row(
            epoch=int(cells[0]),
            step=int(cells[1]),
            lr=float(cells[2]),
            train_loss=float(cells[3]),
            train_robust=float(cells[4]) if cells[4] else None,
            val_clean=float(cells[5]),
            val_robust=float(cells[6]),
            seconds=float(cells[7]),
            images_per_second=float(cells[8]),
            **newer_values(cells[len(OLD_COLUMNS) :]),
        )
        finite = all(value is None or math.isfinite(value) for value in vars(row).values())  # astuple copies, slowly
    except (ValueError, OverflowError):  # the latter: a whole number beyond every float
        return None
    return row if finite else None


def newer_values(cells: Sequence[str]) -> dict[str, Any]:
    """The values of the columns that old histories lack, for which `cells` is empty; raises ValueError for others."""
    types = (float, float, int)
    names = COLUMNS[len(OLD_COLUMNS) :]
    return {name: kind(cell) for name, kind, cell in zip(names, types, cells, strict=False) if cell}
