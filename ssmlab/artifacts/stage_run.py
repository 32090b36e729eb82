"""Records params, code and inputs when a stage starts, and checks before publishing that they have not changed.

DVC hashes params, code and inputs after a stage has run. Without this check, DVC would record an output with params
that were edited while the stage ran.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ssmlab.artifacts.provenance import Provenance, params_fingerprint, provenance_of
from ssmlab.core.blocked_paths import check_place
from ssmlab.core.errors import UserError, disk_error_in
from ssmlab.core.files import sha256_file
from ssmlab.core.stage_code import CommandName, StageName, code_fingerprint
from ssmlab.data.header import prepared_fingerprint
from ssmlab.params import Params


@dataclass(frozen=True)
class StageInput:
    """A file that a stage reads.

    Attributes:
        path: path of the file.
        fingerprint: fingerprint of the content that the stage read.
        read_again: returns the fingerprint of the present content; raises FileNotFoundError if there is no file.
    """

    path: Path
    fingerprint: str
    read_again: Callable[[], str]


def file_input(path: Path, sha256: str | None = None) -> StageInput:
    """A small file, identified by its SHA-256; it is hashed now unless the caller passes `sha256`."""
    return StageInput(path, sha256 or sha256_file(path), partial(sha256_file, path))


def prepared_input(path: Path, fingerprint: str) -> StageInput:
    """A prepared data set, identified by its own fingerprint."""
    return StageInput(path, fingerprint, partial(prepared_fingerprint, path))


@dataclass(frozen=True)
class StageRun:
    """One run of a stage: its provenance, and a check that params, code and inputs have not changed since.

    Attributes:
        asked_again: returns the stage's present params from params.yaml; None if the params came from no file.
        inputs: the inputs by their names in the provenance.
    """

    provenance: Provenance
    asked_again: Callable[[], Mapping[str, Any]] | None
    inputs: Mapping[str, StageInput]

    def changed(self) -> str:
        """What has changed since the start, as in "params.yaml has changed"; empty if nothing has.

        A deleted input counts as unchanged. An input that the disk cannot read counts as possibly changed.
        """
        if self.asked_again is not None:
            try:
                asked = params_fingerprint(self.asked_again())
            except UserError as error:
                return change_of("params.yaml", error)
            if asked != self.provenance.params_sha256:
                return change_of("params.yaml")
        if code_fingerprint(self.provenance.stage) != self.provenance.code_sha256:
            return change_of("the code of ssmlab")
        for name, each in self.inputs.items():
            try:
                found = each.read_again()
            except FileNotFoundError:
                continue
            except (UserError, OSError) as error:
                return change_of(name, error)
            if found != each.fingerprint:
                return change_of(name)
        return ""

    def require_unchanged(self, target: Path, command: str) -> None:
        """Check that nothing has changed since the start, before `target` is written.

        Raises:
            UserError: params, code or an input has changed.
        """
        if changed := self.changed():
            raise UserError(
                f"{target}: not written: {changed} since `{command}` started; run it again (the earlier "
                "file is unchanged)"
            )


def change_of(name: str, error: Exception | None = None) -> str:
    """The state of an input in words: that it has changed, or what an error on reading it again means."""
    disk = disk_error_in(error)
    if disk is None:
        return f"{name} has changed"
    return f"{name} cannot be read any more ({disk.strerror or disk}), so it may have changed"


def start_stage(
    stage: StageName | CommandName,
    asked: Callable[[Params], Mapping[str, Any]],
    params: Params,
    inputs: Sequence[StageInput],
    outputs: Sequence[Path],
    *,
    root: Path,
    reread: Callable[[], Params] | None,
    device: str | None = None,
    threads: int | None = None,
) -> StageRun:
    """Record the params, code and inputs of a stage at its start, and check that its outputs can be written.

    Args:
        asked: returns the part of the params that the stage reads.
        params: the params at the start.
        inputs: the files that the stage reads.
        outputs: the files that it writes at its end.
        root: the project's folder; inputs are named by their paths in it.
        reread: returns the present content of params.yaml; None if the params came from no file.
        device, threads: as in `Provenance`.

    Raises:
        UserError: something is in the way of an output, or the user may not write it.
    """
    check_place(*outputs)
    named = {name_in(root, each.path): each for each in inputs}
    fingerprints = {name: each.fingerprint for name, each in named.items()}
    provenance = provenance_of(stage, asked(params), fingerprints, root=root, device=device, threads=threads)
    return StageRun(provenance, None if reread is None else lambda: asked(reread()), named)


def name_in(root: Path, file: Path) -> str:
    """A file's path in the project, or its name if it is elsewhere: results must not contain a machine's folders."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
