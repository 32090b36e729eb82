"""The record of a training: one durable state file an epoch, from which everything else in the live folder follows.

state.safetensors holds the training's state, its history and the bytes of its checkpoints, and is replaced in one
rename. So there is no order of several files that a crash could break: before the rename the last epoch never
happened, after it all of it is there, and the other files are written again from it when the training goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ssmlab.artifacts.history import HistoryWriter, Row, format_history
from ssmlab.core.files import canonical_json, write_atomic
from ssmlab.core.stage_code import PACKAGE, code_fingerprint
from ssmlab.core.version import __version__
from ssmlab.params import Strict
from ssmlab.training.state import TrainingState

KEY = "ssmlab.state"
STATE, HISTORY = "state.safetensors", "history.csv"
FILE = "file:"  # tensors of this prefix are the bytes of the live folder's other files

DIFFERENCES = {
    "run": "another run",
    "parameters": "other parameters",
    "data_set": "another data set",
    "code": "another version of the code",
    "device": "another device",
    "threads": "another number of threads",
}


class Identity(Strict):
    """What must be equal for a state to be continued from: fingerprints, the device that drew its numbers, and the
    number of CPU threads, which decides the last bits of sums.
    """

    run: str
    parameters: str
    data_set: str
    code: str
    device: str
    threads: int

    def difference(self, other: Identity) -> str:
        """The first thing in which `other` differs, in words; empty if none."""
        return next((DIFFERENCES[name] for name, value in self if getattr(other, name) != value), "")


class About(Strict):
    """The one metadata entry of a state file; `digest` is of its tensors, whose damage nothing else would show."""

    format: Literal[1] = 1
    identity: Identity
    rows: tuple[Row, ...]
    digest: str


class Unusable(Exception):
    """A state file that cannot be gone on from; says why, in a few words."""


@dataclass(frozen=True, eq=False)
class Saved:
    """What a state file holds: the training's state, and the other files of that epoch by name."""

    state: TrainingState
    files: dict[str, bytes]


def save_state(path: Path, identity: Identity, saved: Saved) -> None:
    """Write a state file, atomically and durably; raises UserError if that fails, and the old one then stands."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in saved.state.tensors.items()}
    for name, content in saved.files.items():
        tensors[FILE + name] = torch.frombuffer(bytearray(content), dtype=torch.uint8)  # (bytes,)
    about = About(identity=identity, rows=saved.state.rows, digest=digest_of(tensors))
    header = {KEY: canonical_json(about.model_dump(mode="json"))}
    write_atomic(path, safetensors.torch.save(tensors, metadata=header))


def load_state(path: Path, identity: Identity) -> Saved | None:
    """The state file at `path`; None if there is none.

    Raises:
        Unusable: it is of another identity, or it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = About.model_validate_json((file.metadata() or {}).get(KEY, ""))
            different = identity.difference(about.identity)
            if different:
                raise Unusable(f"is of {different}")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in sorted(file.offset_keys())}
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, ValidationError):
        raise Unusable("cannot be read") from None
    if digest_of(tensors) != about.digest:
        raise Unusable("is damaged")
    files = {name: tensor for name, tensor in tensors.items() if name.startswith(FILE)}
    state = TrainingState(about.rows, {name: tensor for name, tensor in tensors.items() if name not in files})
    return Saved(state, {name.removeprefix(FILE): tensor.numpy().tobytes() for name, tensor in files.items()})


def with_saved_threads(path: Path, identity: Identity) -> Identity:
    """`identity` with the threads of the state at `path`, if there is one that differs in nothing else.

    So a training with `threads: auto` continues although another number would be chosen now (OMP_NUM_THREADS).
    """
    try:
        with safe_open(path, framework="pt") as file:
            saved = About.model_validate_json((file.metadata() or {}).get(KEY, "")).identity
    except (OSError, SafetensorError, ValidationError):
        return identity
    same = identity.model_copy(update={"threads": saved.threads})
    return identity if same.difference(saved) else same


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and bytes."""
    return hashlib.sha256(safetensors.torch.save(dict(sorted(tensors.items())))).hexdigest()


def code_version(package: Path = PACKAGE) -> str:
    """Which code trains: our version, a hash of the files that DVC has for the stage `train`, and torch's version."""
    return f"{__version__} {code_fingerprint('train', package)} torch {torch.__version__}"


class Record:
    """Keeps the live folder of one training.

    Attributes:
        rows: the history so far; `state`: what an earlier training left to go on from, None at a fresh start.
        files: the checkpoints' bytes as of the last epoch, by file name.
        publishing: what was published before may be replaced, in part or whole.
    """

    def __init__(self, live: Path, identity: Identity) -> None:
        self.live = live
        self.identity = identity
        self.state: TrainingState | None = None
        self.rows: tuple[Row, ...] = ()
        self.files: dict[str, bytes] = {}
        self.publishing = False

    def take_up(self) -> str:
        """Find what an earlier training left, and bring the other files in line with it.

        Returns:
            why a state that is there is not gone on from, else nothing.
        """
        try:
            saved = load_state(self.live / STATE, self.identity)
        except Unusable as reason:
            return str(reason)
        if saved is not None:
            self.state, self.rows, self.files = saved.state, saved.state.rows, saved.files
            self._write(self.files)
            write_atomic(self.live / HISTORY, format_history(self.rows), durable=False)
        return ""

    def add(self, state: TrainingState, files: Mapping[str, bytes]) -> None:
        """An epoch is done: `files` are the checkpoints it replaces. Raises UserError; the epoch before then stands."""
        merged = {**self.files, **files}
        save_state(self.live / STATE, self.identity, Saved(state, merged))
        self.rows, self.files = state.rows, merged
        self._write(files)
        HistoryWriter(self.live / HISTORY).append(state.rows[-1])

    def publish(self, folder: Path) -> list[str]:
        """Write checkpoints and history to `folder`, each atomically and durably; returns their names."""
        self.publishing = True
        contents: dict[str, bytes | str] = {**self.files, HISTORY: format_history(self.rows)}
        for name, content in contents.items():
            write_atomic(folder / name, content)
        return list(contents)

    def finish(self) -> None:
        """The training is complete and published: the next one starts afresh."""
        (self.live / STATE).unlink(missing_ok=True)

    def _write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            write_atomic(self.live / name, content, durable=False)  # the state file can restore them


def sweep(folder: Path) -> None:
    """Remove the temporary files that a killed `write_atomic` left in `folder`."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
