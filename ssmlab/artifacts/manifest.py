"""manifest.json in the folder of a trained run: which files belong together, and where they come from.

A folder cannot be replaced in one step, so a kill while it is published could leave the `best` of one training beside
the `last` of another. The manifest is written last and names the hash of each file: what does not agree is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ssmlab.artifacts.provenance import Provenance
from ssmlab.core.digest import read_sealed_json, sealed_json
from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.core.validation import first_problem
from ssmlab.params import Strict

MANIFEST, HISTORY = "manifest.json", "history.csv"
PUBLISHED = ("best.safetensors", "last.safetensors", HISTORY)

Ending = Literal["all epochs", "patience", "asked to stop"]


class Manifest(Strict):
    """What is in the folder of a trained run.

    Attributes:
        files: SHA-256 of every file of `PUBLISHED`, by name.
        epochs_done, epochs_asked: of the training; ended: why it ended there.
        provenance: of the training that published them. One that was interrupted and went on counts as its last start.
    """

    format: Literal[1] = 1
    study: str
    run: str
    files: dict[str, str]
    epochs_done: int
    epochs_asked: int
    ended: Ending
    provenance: Provenance

    @property
    def cut_short(self) -> bool:
        """Whether someone stopped the training before its end."""
        return self.ended == "asked to stop"

    def without_history(self) -> Manifest:
        """The manifest without the hash of history.csv, whose timings differ between equal trainings."""
        return self.model_copy(update={"files": {name: each for name, each in self.files.items() if name != HISTORY}})


def file_hashes(contents: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of some files' bytes, by name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def publish(folder: Path, contents: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write the files of a run and then, as the last step, their manifest, each atomically and durably."""
    for name, content in contents.items():
        write_atomic(folder / name, content)
    write_atomic(folder / MANIFEST, sealed_json(manifest.plain()))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a trained run's folder.

    Raises:
        UserError: it is missing (an older version published the run), damaged, or of another version.
    """
    remedy = f"run `ssmlab train {folder.name}`"
    document = read_sealed_json(folder / MANIFEST, f"the list of the files of run {folder.name}", remedy)
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{folder / MANIFEST}: not of this version ({first_problem(error)}); {remedy}") from None


def read_published(folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a trained run's folder and the bytes of its files, each read once and equal to its hash.

    Raises:
        UserError: a file is missing, damaged, or not of this training.
    """
    manifest, remedy = read_manifest(folder), f"run `ssmlab train {folder.name}`"
    contents = {}
    for name in PUBLISHED:
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be read ({error.strerror}); {remedy}") from None
    for name, found in file_hashes(contents).items():
        if found != manifest.files.get(name):
            raise UserError(
                f"{folder / name}: not the file that {MANIFEST} beside it names: it is damaged, or a training was "
                f"killed while it published; {remedy}"
            )
    return manifest, contents
