"""The live folder of a training. Its files are written again from the state file whenever a training continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssmlab.artifacts.history import Row, append_row, format_history
from ssmlab.artifacts.manifest import HISTORY
from ssmlab.core.files import write_atomic
from ssmlab.stages.train.state_file import (
    CHECKPOINTS,
    STATE,
    Identity,
    SavedState,
    UnusableState,
    load_state,
    save_state,
)
from ssmlab.training.state import TrainingState

MOST_KEPT = 3  # kept states of other trainings of the run


class Record:
    """The live folder of one training.

    Attributes:
        state: the state that an earlier training left to continue from; None at a fresh start.
        rows: the history so far.
        files: the checkpoints' bytes after the last epoch, by file name.
        publishing: True while published files are being replaced, so that some may be old and some new.
    """

    def __init__(self, live: Path, identity: Identity) -> None:
        self.live = live
        self.identity = identity
        self.state: TrainingState | None = None
        self.rows: tuple[Row, ...] = ()
        self.files: dict[str, bytes] = {}
        self.publishing = False

    def start_afresh(self) -> None:
        """Forget the earlier training's state, and remove its files from the live folder."""
        for name in (*CHECKPOINTS, HISTORY):
            (self.live / name).unlink(missing_ok=True)
        self.state, self.rows, self.files = None, (), {}

    def take_up(self) -> str:
        """Load the state that an earlier training left, and write the other files again from it.

        A state with other params, data or code is kept. It is used if a later training has these params, data and code.

        Returns:
            why an existing state is not used, and where it is kept; an empty text otherwise.
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
        """Rename the state, so that a fresh start does not replace it; only the newest MOST_KEPT are kept."""
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
        """Record a finished epoch; `files` are the checkpoints that it replaces.

        Raises:
            UserError: the state cannot be written; the record of the epoch before is then intact.
        """
        merged = {**self.files, **files}
        save_state(self.live / STATE, self.identity, SavedState(state, merged))
        self.rows, self.files = state.rows, merged
        self._write(files)
        append_row(self.live / HISTORY, state.rows[-1])

    def contents(self) -> dict[str, bytes]:
        """The files to publish, by name."""
        return {**self.files, HISTORY: format_history(self.rows).encode()}

    def finish(self) -> None:
        """The training is complete and published: the next training starts from the beginning."""
        (self.live / STATE).unlink(missing_ok=True)

    def _write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            write_atomic(self.live / name, content, durable=False)  # the state file can restore them


def kept_name(identity: Identity | None) -> str:
    """The file name of a state that is kept aside; `identity` is None for a damaged state."""
    return f"kept-{identity.fingerprint()[:12] if identity else 'damaged'}.safetensors"
