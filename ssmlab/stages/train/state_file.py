"""The state file of a training: everything that is needed to continue it, in one file that is replaced every epoch.

state.safetensors contains the training's state, its history and the bytes of its checkpoints. It is replaced by one
rename. So after a crash, it has either the epoch before or the complete new epoch, never a mixture.

A state file may come from elsewhere and is not trusted: only `best.safetensors` and `last.safetensors` are taken from
it, and only if they are checkpoints of the same run.
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

from ssmlab.artifacts.history import Row
from ssmlab.artifacts.metadata import parse_checkpoint
from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.core.json_text import canonical_json
from ssmlab.core.stage_code import PACKAGE, code_fingerprint
from ssmlab.core.tensors import (
    DIGEST,
    LARGEST_STATE,
    DamagedTensors,
    UnreadableTensors,
    read_tensors_file,
    sealable_metadata,
    sealed,
)
from ssmlab.core.version import __version__
from ssmlab.params import Strict, Which
from ssmlab.training.state import TrainingState

KEY = "ssmlab.state"
STATE = "state.safetensors"
FILE = "file:"  # tensors with this prefix hold the bytes of the checkpoints
CHECKPOINTS: dict[str, Which] = {"best.safetensors": "best", "last.safetensors": "last"}

DIFFERENCES = {
    "run": "another run",
    "parameters": "other parameters",
    "data_set": "another data set",
    "code": "another version of the code",
    "device": "another device",
    "threads": "another number of threads",
}


class Identity(Strict):
    """What must be equal to continue from a state.

    The device is part of it because it draws the random numbers, and the number of CPU threads because it decides the
    last bits of sums.
    """

    run: str
    parameters: str
    data_set: str
    code: str
    device: str
    threads: int

    def difference(self, other: Identity) -> str:
        """The first difference from `other`, in words; empty if there is none."""
        return next((DIFFERENCES[name] for name, value in self if getattr(other, name) != value), "")


class StateHeader(Strict):
    """The metadata of a state file; the digest of the whole file is added to it (`ssmlab.core.tensors`)."""

    format: Literal[2] = 2
    identity: Identity
    rows: tuple[Row, ...]


class UnusableState(Exception):
    """A state file that a training cannot continue from; the message says why. `identity`: the state's, if known."""

    def __init__(self, reason: str, identity: Identity | None = None) -> None:
        super().__init__(reason)
        self.identity = identity


@dataclass(frozen=True, eq=False)
class SavedState:
    """The content of a state file: the training's state, and the checkpoints of that epoch by file name."""

    state: TrainingState
    files: dict[str, bytes]


def save_state(path: Path, identity: Identity, saved: SavedState) -> None:
    """Write a state file, atomically and durably; raises UserError if that fails, and the old file stays."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in saved.state.tensors.items()}
    for name, content in saved.files.items():
        tensors[FILE + name] = torch.frombuffer(bytearray(content), dtype=torch.uint8)  # (bytes,)
    header = StateHeader(identity=identity, rows=saved.state.rows)
    metadata = {KEY: sealable_metadata(header.model_dump(mode="json"))}
    write_atomic(path, sealed(safetensors.torch.save(tensors, metadata=metadata)))


def load_state(path: Path, identity: Identity) -> SavedState | None:
    """The state file at `path`; None if there is none.

    Raises:
        UnusableState: it has another identity, it is damaged, or its checkpoints are not those of the run.
        UserError: the disk did not give its bytes. They may be sound, and a fresh start would waste their epochs.
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
    except UnreadableTensors as error:
        raise not_read(path, error) from None
    except (DamagedTensors, SafetensorError, ValidationError, KeyError):
        raise UnusableState("cannot be read: it is damaged or from another version") from None
    if different := identity.difference(header.identity):
        raise UnusableState(f"does not fit ({different})", header.identity)
    if not header.rows or [row.epoch for row in header.rows] != list(range(1, len(header.rows) + 1)):
        raise UnusableState("has epochs that are missing or out of order")
    files = {
        name.removeprefix(FILE): tensors.pop(name).numpy().tobytes() for name in list(tensors) if name.startswith(FILE)
    }
    check_files(files, identity)
    return SavedState(TrainingState(header.rows, tensors), files)


def with_saved_threads(path: Path, identity: Identity) -> Identity:
    """`identity` with the threads of the state at `path`, if that state differs only in the number of threads.

    This lets a training with `threads: auto` continue although another number would be chosen now (OMP_NUM_THREADS).
    Raises UserError if the disk does not give the state's bytes.
    """
    try:
        document = read_tensors_file(path, LARGEST_STATE).metadata_object(KEY)
        saved = Identity.model_validate(document.get("identity"))
    except UnreadableTensors as error:
        raise not_read(path, error) from None
    except (FileNotFoundError, DamagedTensors, ValidationError):
        return identity
    same = identity.model_copy(update={"threads": saved.threads})
    return identity if same.difference(saved) else same


def not_read(path: Path, error: UnreadableTensors) -> UserError:
    """The error for a state that may be sound."""
    return UserError(
        f"{path}: cannot be read ({error}), so the training does not start; fix that, or remove the file"
        " to train from the first epoch"
    )


def check_files(files: Mapping[str, bytes], identity: Identity) -> None:
    """Raise UnusableState unless `files` are the two checkpoints of the run, and nothing else."""
    if files.keys() != CHECKPOINTS.keys():
        raise UnusableState("holds other files than the run's two checkpoints")
    for name, content in files.items():
        try:
            metadata = parse_checkpoint(content, name).metadata
        except UserError:
            raise UnusableState(f"holds a {name} that is not a checkpoint") from None
        found = (metadata.run, metadata.which, metadata.params_fingerprint, metadata.data_fingerprint)
        if found != (identity.run, CHECKPOINTS[name], identity.parameters, identity.data_set):
            raise UnusableState(f"holds a {name} of another training")


def code_version(package: Path = PACKAGE) -> str:
    """The version of the training code: ssmlab's version, a hash of the stage's source files, and torch's version."""
    return f"{__version__} {code_fingerprint('train', package)} torch {torch.__version__}"
