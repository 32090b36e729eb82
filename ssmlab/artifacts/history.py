"""history.csv: one row per epoch, appended as whole lines."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ssmlab.artifacts.manifest import HISTORY, MANIFEST, read_published
from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file


class Row(NamedTuple):
    """One epoch of a training.

    Attributes:
        epoch: number of the epoch, from 1.
        step: optimiser steps since the training began.
        lr: learning rate of the main parameter group at the epoch's first step.
        train_loss: mean loss over the epoch's training images, each computed before the optimiser step on it.
        train_robust: accuracy in [0, 1] on the epoch's adversarial training images, under the regime's own attack and
            with changing weights; None (an empty field) for a regime that trains on clean images.
        val_clean, val_robust: accuracies in [0, 1] on the selection split.
        seconds: wall-clock time of the epoch, with validation.
        images_per_second: training throughput, without validation.
        val_robust_loss: mean cross entropy on the attacked images of `val_robust`.
        train_eval_robust: accuracy in [0, 1] on a fixed sample of training images, as many as in the selection split,
            measured like `val_robust`: same model, same attack, no augmentation. `train_eval_robust - val_robust` is
            the gap between training and validation; `train_robust` cannot be compared with `val_robust`.
        epochs: number of epochs that the settings asked for.

    The last three are None in histories of older versions.
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


COLUMNS = Row._fields
HEADER = ",".join(COLUMNS)
OLD_COLUMNS = COLUMNS[:9]  # in version 0.1.0 and earlier
OLD_HEADER = ",".join(OLD_COLUMNS)


def append_row(path: Path, row: Row) -> None:
    """Append a row to a history.csv, with the header before the first one.

    A row is one `write`, so a reader sees only whole lines, also after a crash.

    Raises:
        UserError: the disk is full, or the file cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666)  # never waits for a pipe
        try:
            header = "" if os.fstat(handle).st_size else HEADER + "\n"
            data = f"{header}{format_row(row)}\n".encode()
            written = os.write(handle, data)
        finally:
            os.close(handle)
    except OSError as error:
        raise UserError(f"{cannot(path, 'written', error)}; then start again") from None
    if written < len(data):
        raise UserError(f"{path}: cannot be written completely (no space left?); free some space and start again")


def read_history(path: Path) -> list[Row]:
    """All rows of a finished history.csv.

    Raises:
        UserError: the file is missing, has other columns, or contains a line that is not a row.
    """
    return parse_history(history_bytes(path), path)


def history_bytes(path: Path) -> bytes:
    """The content of a history.csv; raises UserError if there is none."""
    try:
        return read_file(path)
    except OSError as error:
        remedy = "train the run with `ssmlab train`"
        raise UserError(f"{cannot(path, 'read as a training history', error)}; {remedy}") from None


def published_history(folder: Path) -> list[Row]:
    """The history of a trained run, checked to belong to the same training as the checkpoints beside it.

    Raises:
        UserError: it is missing, damaged, or from another training.
    """
    return parse_history(published_bytes(folder), folder / HISTORY)


def published_bytes(folder: Path) -> bytes:
    """The content of a trained run's history, checked as `published_history` does, but not that it is a history."""
    if (folder / MANIFEST).exists():
        return read_published(folder)[1][HISTORY]
    return history_bytes(folder / HISTORY)  # older versions wrote no manifest


def parse_history(content: bytes, path: Path) -> list[Row]:
    """The rows of a complete history.csv with this content.

    Raises:
        UserError: it is not a history; the message names `path`.
    """
    text = content.decode(errors="replace")
    if text.startswith(f"{HEADER}\n") and (found := written_rows(text[len(HEADER) + 1 :])) is not None:
        return found
    lines = text.splitlines()
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
    """The content of a history.csv with these rows, as `append_row` writes it."""
    return "".join(f"{line}\n" for line in (HEADER, *map(format_row, rows)))


def format_row(row: Row) -> str:
    """A row as CSV, without a line end; numbers are written so that reading them gives exactly the same values."""
    return ",".join("" if value is None else repr(value) for value in row)


def optional(convert: Callable[[str], float]) -> Callable[[str], float | None]:
    """A conversion that gives None for an empty cell."""
    return lambda cell: convert(cell) if cell else None


CONVERT: tuple[Callable[[str], Any], ...] = (int, int, float, float, optional(float), *[float] * 4,
                                             optional(float), optional(float), optional(int))  # fmt: skip
MAKE_ROW = partial(tuple.__new__, Row)  # of 12 values; `Row._make`, which counts them, takes four times as long
Natural = Annotated[int, Field(ge=0, lt=2**63)]
WRITTEN = TypeAdapter(
    list[
        tuple[
            Natural, Natural, float, float, float | None, float, float, float, float,
            float | None, float | None, Natural | None,
        ]
    ],
    config=ConfigDict(strict=True, allow_inf_nan=False, defer_build=True),
)  # fmt: skip


def parse_rows(text: str) -> list[Row]:
    """The rows among the lines of a text; other lines are ignored."""
    text = text.removeprefix(f"{HEADER}\n")
    rows = written_rows(text)
    return rows if rows is not None else [row for line in text.splitlines() if (row := parse_row(line)) is not None]


def written_rows(text: str) -> list[Row] | None:
    """The rows of lines that `append_row` wrote; None if a line may be something else.

    With brackets and nulls, such lines become JSON. pydantic reads and checks this JSON five times as fast as
    `parse_row`. `parse_row` handles all other lines. Nulls are inserted only if the text is not JSON without them: few
    regimes leave a cell empty, and then the first line shows it.
    """
    if not text.endswith("\n") or "null" in text or "\r" in text:
        return None if text else []
    rows = text.count("\n")
    lists = f"[[{text[:-1]}]]".replace("\n", "],[")
    found = rows_of_lists(lists)
    if found is None:
        found = rows_of_lists(lists.replace(",,", ",null,").replace(",,", ",null,").replace(",]", ",null]"))
    return found if found is not None and len(found) == rows else None


def rows_of_lists(text: str) -> list[Row] | None:
    """The rows in a JSON list of lists; None if it is anything else."""
    try:
        return list(map(MAKE_ROW, WRITTEN.validate_json(text)))
    except ValidationError:
        return None


def parse_row(line: str) -> Row | None:
    """The row in one line of CSV, from this version or an older one; None for anything else, such as a header."""
    cells = line.split(",")
    if len(cells) not in (len(COLUMNS), len(OLD_COLUMNS)):
        return None
    try:
        values = [convert(cell) for convert, cell in zip(CONVERT, cells, strict=False)]
        finite = all(map(math.isfinite, (value for value in values if value is not None)))
    except (ValueError, OverflowError):  # OverflowError: an integer too large for a float
        return None
    return Row(*values) if finite else None
