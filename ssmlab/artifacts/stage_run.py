"""One run of a stage: what it was started from is recorded, and compared again before its output is published.

DVC hashes params, code and inputs after a stage has run. Without this comparison it would take an output for one of
params that were edited meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ssmlab.artifacts.provenance import Provenance, params_fingerprint, provenance_of
from ssmlab.core.errors import UserError
from ssmlab.core.files import sha256_file
from ssmlab.core.stage_code import CommandName, StageName, code_fingerprint
from ssmlab.data.header import prepared_fingerprint
from ssmlab.params import Params


@dataclass(frozen=True)
class StageInput:
    """A file that a stage reads.

    Attributes:
        path: where it is.
        fingerprint: of the content that the stage read.
        read_again: gives the fingerprint of what is there now; raises FileNotFoundError if nothing is.
    """

    path: Path
    fingerprint: str
    read_again: Callable[[], str]


def file_input(path: Path, sha256: str | None = None) -> StageInput:
    """A small file, known by the SHA-256 of its bytes, which are hashed now unless the caller has read them already."""
    return StageInput(path, sha256 or sha256_file(path), partial(sha256_file, path))


def prepared_input(path: Path, fingerprint: str) -> StageInput:
    """A prepared data set, known by its own fingerprint."""
    return StageInput(path, fingerprint, partial(prepared_fingerprint, path))


@dataclass(frozen=True)
class StageRun:
    """One run of a stage: what it was started from, and whether that is still so.

    Attributes:
        asked_again: gives the stage's params as params.yaml has them now; None if they came from no file.
        inputs: by the names that the provenance gives them.
    """

    provenance: Provenance
    asked_again: Callable[[], Mapping[str, Any]] | None
    inputs: Mapping[str, StageInput]

    def changed(self) -> str:
        """What has changed since the start, in words; empty if nothing has. An input that is gone has not changed."""
        if self.asked_again is not None:
            try:
                asked = params_fingerprint(self.asked_again())
            except UserError:
                asked = ""
            if asked != self.provenance.params_sha256:
                return "params.yaml"
        if code_fingerprint(self.provenance.stage) != self.provenance.code_sha256:
            return "the code of ssmlab"
        for name, each in self.inputs.items():
            try:
                found = each.read_again()
            except FileNotFoundError:
                continue
            except (UserError, OSError):
                found = ""
            if found != each.fingerprint:
                return name
        return ""

    def require_unchanged(self, target: Path, command: str) -> None:
        """Raise UserError, and leave `target` as it was, if what it would be made of has changed since the start."""
        if changed := self.changed():
            raise UserError(
                f"{target}: not written: {changed} has changed since `{command}` started; run it again (what was there "
                f"before is untouched)"
            )


def start_stage(
    stage: StageName | CommandName,
    asked: Callable[[Params], Mapping[str, Any]],
    params: Params,
    inputs: Sequence[StageInput],
    *,
    root: Path,
    reread: Callable[[], Params] | None,
    device: str | None = None,
    threads: int | None = None,
) -> StageRun:
    """Record what a stage starts from.

    Args:
        asked: gives what the stage reads of some params.
        root: the project's folder; inputs are named by their paths in it.
        reread: gives params.yaml as it is now; None if the params came from no file.
        device, threads: as in `Provenance`.
    """
    named = {name_in(root, each.path): each for each in inputs}
    fingerprints = {name: each.fingerprint for name, each in named.items()}
    provenance = provenance_of(stage, asked(params), fingerprints, root=root, device=device, threads=threads)
    return StageRun(provenance, None if reread is None else lambda: asked(reread()), named)


def name_in(root: Path, file: Path) -> str:
    """A file's path in the project; only its name if it is elsewhere, since results name no folder of a machine."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
