"""manifest.json in the folder of a trained run: which files belong together, and where they come from.

A folder cannot be replaced in one step. If a process is killed while it publishes a run, the folder can contain the
`best` of one training and the `last` of another. The manifest is written last and contains the hash of each file.
Readers reject files whose hashes differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ssmlab.artifacts.provenance import Provenance
from ssmlab.core.blocked_paths import cannot
from ssmlab.core.digest import read_sealed_json, sealed_json
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file, write_atomic
from ssmlab.core.validation import first_problem
from ssmlab.params import Strict

MANIFEST, HISTORY = "manifest.json", "history.csv"
PUBLISHED = ("best.safetensors", "last.safetensors", HISTORY)

Ending = Literal["all epochs", "patience", "asked to stop"]


class Manifest(Strict):
    """The content of the folder of a trained run.

    Attributes:
        files: SHA-256 of every file in `PUBLISHED`, by name.
        epochs_done, epochs_asked: epochs trained, and epochs that the settings asked for.
        ended: why the training ended.
        provenance: code, versions and device of the training; for a training that was interrupted and continued, those
            of its last start.
    """

    format: Literal[1] = 1
    study: str
    run: str
    files: dict[str, str]
    epochs_done: int
    epochs_asked: int
    ended: Ending
    provenance: Provenance

    def without_history(self) -> Manifest:
        """The manifest without the hash of history.csv, because its times differ between equal trainings."""
        return self.model_copy(update={"files": {name: each for name, each in self.files.items() if name != HISTORY}})


def file_hashes(contents: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of the content of files, by name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def publish(folder: Path, contents: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write the files of a run and then their manifest, each atomically and durably.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    for name, content in contents.items():
        write_atomic(folder / name, content)
    write_atomic(folder / MANIFEST, sealed_json(manifest.plain()))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a trained run's folder.

    Raises:
        UserError: it is missing (an older version published the run), damaged, from another version, or of another run.
    """
    remedy = f"run `ssmlab train {folder.name}`"
    document = read_sealed_json(folder / MANIFEST, f"the list of the files of run {folder.name}", remedy)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise UserError(
            f"{folder / MANIFEST}: from another version ({first_problem(error, Manifest)}); {remedy}"
        ) from None
    if manifest.run != folder.name:
        raise UserError(f"{folder}: these are the files of run {manifest.run}, copied or renamed; {remedy}")
    return manifest


def read_published(folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a trained run's folder and the content of its files, checked against their hashes.

    Raises:
        UserError: a file is missing, damaged, or from another training.
    """
    manifest, remedy = read_manifest(folder), f"run `ssmlab train {folder.name}`"
    contents = {}
    for name in PUBLISHED:
        try:
            contents[name] = read_file(folder / name)
        except OSError as error:
            raise UserError(f"{cannot(folder / name, 'read', error)}; {remedy}") from None
    for name, found in file_hashes(contents).items():
        if found != manifest.files.get(name):
            raise UserError(
                f"{folder / name}: does not match {MANIFEST} beside it: the file is damaged, or a training was killed "
                f"while it wrote its files; {remedy}"
            )
    return manifest, contents
