"""The record of a training: one durable state file an epoch, from which everything else in the live folder follows.

state.safetensors holds the training's state, its history and the bytes of its checkpoints, and is replaced in one
rename. So there is no order of several files that a crash could break: before the rename the last epoch never
happened, after it all of it is there, and the other files are written again from it when the training goes on.

A state file is data that may come from elsewhere: it writes `best.safetensors` and `last.safetensors` and nothing else,
and these only if they are checkpoints of this very run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError

from ssmlab.artifacts.history import HistoryWriter, Row, format_history
from ssmlab.artifacts.manifest import HISTORY
from ssmlab.artifacts.metadata import parse_checkpoint
from ssmlab.core.errors import UserError
from ssmlab.core.files import canonical_json, write_atomic
from ssmlab.core.stage_code import PACKAGE, code_fingerprint
from ssmlab.core.tensors import (
    DIGEST,
    LARGEST_STATE,
    DamagedTensors,
    read_tensors_file,
    sealable_metadata,
    sealed,
)
from ssmlab.core.version import __version__
from ssmlab.params import Strict, Which
from ssmlab.training.state import TrainingState

KEY = "ssmlab.state"
STATE = "state.safetensors"
FILE = "file:"  # tensors of this prefix are the bytes of the checkpoints
CHECKPOINTS: dict[str, Which] = {"best.safetensors": "best", "last.safetensors": "last"}
MOST_KEPT = 3  # states of other trainings of the run, the newest

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


class StateHeader(Strict):
    """The one metadata entry of a state file, beside the digest of the whole file (`ssmlab.core.tensors`)."""

    format: Literal[2] = 2
    identity: Identity
    rows: tuple[Row, ...]


class UnusableState(Exception):
    """A state file that cannot be gone on from; says why, in a few words. `identity`: whose it is, if that is known."""

    def __init__(self, reason: str, identity: Identity | None = None) -> None:
        super().__init__(reason)
        self.identity = identity


@dataclass(frozen=True, eq=False)
class SavedState:
    """What a state file holds: the training's state, and the checkpoints of that epoch by file name."""

    state: TrainingState
    files: dict[str, bytes]


def save_state(path: Path, identity: Identity, saved: SavedState) -> None:
    """Write a state file, atomically and durably; raises UserError if that fails, and the old one then stands."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in saved.state.tensors.items()}
    for name, content in saved.files.items():
        tensors[FILE + name] = torch.frombuffer(bytearray(content), dtype=torch.uint8)  # (bytes,)
    header = StateHeader(identity=identity, rows=saved.state.rows)
    metadata = {KEY: sealable_metadata(header.model_dump(mode="json"))}
    write_atomic(path, sealed(safetensors.torch.save(tensors, metadata=metadata)))


def load_state(path: Path, identity: Identity) -> SavedState | None:
    """The state file at `path`; None if there is none.

    Raises:
        UnusableState: it is of another identity, it is damaged, or its checkpoints are not those of the run.
    """
    try:
        file = read_tensors_file(path, LARGEST_STATE)
        document = file.metadata_object(KEY)
        file.check_digest(document)
        del document[DIGEST]
        header = StateHeader.model_validate_json(canonical_json(document))
        tensors = safetensors.torch.load(file.content)
    except FileNotFoundError:
        return None
    except (DamagedTensors, SafetensorError, ValidationError, KeyError):
        raise UnusableState("cannot be read: it is damaged or of another version") from None
    if different := identity.difference(header.identity):
        raise UnusableState(f"is of {different}", header.identity)
    if not header.rows or [row.epoch for row in header.rows] != list(range(1, len(header.rows) + 1)):
        raise UnusableState("has epochs that do not follow each other")
    files = {
        name.removeprefix(FILE): tensors.pop(name).numpy().tobytes() for name in list(tensors) if name.startswith(FILE)
    }
    check_files(files, identity)
    return SavedState(TrainingState(header.rows, tensors), files)


def with_saved_threads(path: Path, identity: Identity) -> Identity:
    """`identity` with the threads of the state at `path`, if there is one that differs in nothing else.

    So a training with `threads: auto` continues although another number would be chosen now (OMP_NUM_THREADS).
    """
    try:
        document = read_tensors_file(path, LARGEST_STATE).metadata_object(KEY)
        saved = Identity.model_validate(document.get("identity"))
    except (FileNotFoundError, DamagedTensors, ValidationError):
        return identity
    same = identity.model_copy(update={"threads": saved.threads})
    return identity if same.difference(saved) else same


def check_files(files: Mapping[str, bytes], identity: Identity) -> None:
    """Raise UnusableState unless `files` are the two checkpoints of the run, and nothing else."""
    if files.keys() != CHECKPOINTS.keys():
        raise UnusableState("holds other files than the run's two checkpoints")
    for name, content in files.items():
        try:
            metadata = parse_checkpoint(content, name).metadata
        except UserError:
            raise UnusableState(f"holds a {name} that is no checkpoint") from None
        found = (metadata.run, metadata.which, metadata.params_fingerprint, metadata.data_fingerprint)
        if found != (identity.run, CHECKPOINTS[name], identity.parameters, identity.data_set):
            raise UnusableState(f"holds a {name} of another training")


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

    def start_afresh(self) -> None:
        """Forget what was taken up, and remove its copies from the live folder."""
        for name in (*CHECKPOINTS, HISTORY):
            (self.live / name).unlink(missing_ok=True)
        self.state, self.rows, self.files = None, (), {}

    def take_up(self) -> str:
        """Find what an earlier training left, and bring the other files in line with it.

        A state of other params, data or code is kept beside it, and gone on from when these are asked for again.

        Returns:
            why a state that is there is not gone on from, and where it is kept; else nothing.
        """
        refused = ""
        try:
            saved = load_state(self.live / STATE, self.identity)
        except UnusableState as reason:
            saved, refused = None, f"{reason}; it is kept as {self.keep_aside(reason.identity)}"
        if saved is None:
            saved = self._take_back()
        if saved is not None:
            self.state, self.rows, self.files = saved.state, saved.state.rows, saved.files
            self._write(self.files)
            write_atomic(self.live / HISTORY, format_history(self.rows), durable=False)
        return refused

    def keep_aside(self, identity: Identity | None) -> Path:
        """Rename the state, so that a fresh start does not replace it; the oldest of too many kept ones goes."""
        kept = self.live / kept_name(identity)
        (self.live / STATE).replace(kept)
        by_age = sorted(self.live.glob("kept-*.safetensors"), key=lambda path: path.stat().st_mtime)
        for old in by_age[:-MOST_KEPT]:
            old.unlink(missing_ok=True)
        return kept

    def _take_back(self) -> SavedState | None:
        kept = self.live / kept_name(self.identity)
        try:
            saved = load_state(kept, self.identity)
        except UnusableState:
            return None
        if saved is not None:
            kept.replace(self.live / STATE)
        return saved

    def add(self, state: TrainingState, files: Mapping[str, bytes]) -> None:
        """An epoch is done: `files` are the checkpoints it replaces. Raises UserError; the epoch before then stands."""
        merged = {**self.files, **files}
        save_state(self.live / STATE, self.identity, SavedState(state, merged))
        self.rows, self.files = state.rows, merged
        self._write(files)
        HistoryWriter(self.live / HISTORY).append(state.rows[-1])

    def contents(self) -> dict[str, bytes]:
        """The files to publish, by name."""
        return {**self.files, HISTORY: format_history(self.rows).encode()}

    def finish(self) -> None:
        """The training is complete and published: the next one starts afresh."""
        (self.live / STATE).unlink(missing_ok=True)

    def _write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            write_atomic(self.live / name, content, durable=False)  # the state file can restore them


def kept_name(identity: Identity | None) -> str:
    """The file name of a state that is kept aside; of a damaged one nothing is known."""
    return f"kept-{identity.fingerprint()[:12] if identity else 'damaged'}.safetensors"
