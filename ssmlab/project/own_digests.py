"""Files of a study that can be checked without DVC: by a digest in the file, or a hash in another file of ssmlab."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ssmlab.artifacts.manifest import MANIFEST, PUBLISHED, read_manifest
from ssmlab.artifacts.metadata import read_checkpoint
from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.files import sha256_file
from ssmlab.core.tensors import LARGEST_STATE, DamagedTensors, read_tensors_file
from ssmlab.data.content_check import read_checked_summary
from ssmlab.evaluation.results import load_results
from ssmlab.params import IMPORTED
from ssmlab.params.paths import Paths
from ssmlab.probes.results import load_probes

FileChecker = Callable[[Path], None]  # raises UserError if the file is not as it was written


def own_checks(paths: Paths) -> Iterator[tuple[Path, FileChecker]]:
    """Every file of the study that can be checked without DVC, with its check."""
    if paths.prepared.exists():
        yield paths.prepared, check_prepared
    for folder in found_in(paths.models, "*/"):
        yield from checks_of_run(folder)
    for file in found_in(paths.root / "models" / IMPORTED, "*/best.safetensors"):
        yield file, check_checkpoint_file
    for file in found_in(paths.attacks, "*.json"):
        yield file, check_results
    for file in found_in(paths.probes, "*.json"):
        yield file, check_probes
    for file in found_in(paths.root / "runs" / paths.study, "*/state.safetensors"):
        yield file, check_state


def found_in(folder: Path, pattern: str) -> list[Path]:
    """What matches in a folder, sorted; none without the folder.

    Raises:
        OSError: the folder may not be listed. `Path.glob` alone would find nothing in it, without an error.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        os.listdir(folder)  # noqa: PTH208 - only for its errors
    return sorted(folder.glob(pattern))


def checks_of_run(folder: Path) -> Iterator[tuple[Path, FileChecker]]:
    """The files of a trained run: the manifest by its digest, the others by their hashes in the manifest."""
    manifest = folder / MANIFEST
    if not manifest.exists():  # older versions wrote none
        for file in found_in(folder, "*.safetensors"):
            yield file, check_checkpoint_file
        return
    yield manifest, check_manifest
    for name in PUBLISHED:
        yield folder / name, check_against_manifest


def check_prepared(path: Path) -> None:
    """Raise UserError unless the images and labels of a prepared data set are those of its fingerprint."""
    read_checked_summary(path)


def check_checkpoint_file(path: Path) -> None:
    read_checkpoint(path)


def check_manifest(path: Path) -> None:
    read_manifest(path.parent)


def check_against_manifest(path: Path) -> None:
    try:
        expected = read_manifest(path.parent).files.get(path.name)
    except UserError:  # reported when the manifest itself is checked
        if path.suffix == ".safetensors":
            read_checkpoint(path)
        return
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: missing, although {MANIFEST} next to it lists it") from None
    except OSError as error:
        raise UserError(cannot(path, "read", error)) from None
    if found != expected:
        raise UserError(f"{path}: not the file that {MANIFEST} next to it lists")


def check_results(path: Path) -> None:
    load_results(path)


def check_probes(path: Path) -> None:
    load_probes(path)


def check_state(path: Path) -> None:
    """Raise UserError unless the state of an unfinished training has the digest that its metadata names."""
    try:
        file = read_tensors_file(path, LARGEST_STATE)
        (key,) = file.metadata
        file.check_digest(file.metadata_object(key))
    except (DamagedTensors, ValueError) as error:
        raise UserError(f"{path}: damaged: {error}") from None
