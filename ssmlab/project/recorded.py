"""What dvc.lock records about the outputs of a study: every file with its MD5, and its place in DVC's cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ssmlab.core.errors import UserError
from ssmlab.core.files import naming, open_regular, read_file
from ssmlab.core.plain_values import parse_json
from ssmlab.project.dvc_files import read_lock
from ssmlab.project.lock_check import lock_problem

CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class RecordedOutput:
    """An output of a stage, as dvc.lock records it.

    Attributes:
        stage: the stage that makes it (`train@ads`).
        path: relative to the project's folder.
        md5: for a file, its MD5; for a folder, the hash of its list of files, which ends in `.dir`.
        files: for a folder, the MD5 of each file by its path below the folder; None if the cache has no complete list.
    """

    stage: str
    path: str
    md5: str
    files: dict[str, str] | None = None

    @property
    def is_folder(self) -> bool:
        """Whether the output is a folder."""
        return self.md5.endswith(".dir")


def recorded_outputs(root: Path, cache: Path) -> list[RecordedOutput]:
    """The outputs in dvc.lock, in its order; none without one.

    Raises:
        UserError: dvc.lock is damaged; the message ends with what to do.
    """
    file = root / "dvc.lock"
    content = read_lock(file)
    if content is None:
        return []
    if (problem := lock_problem(content)) is not None:
        raise UserError(f"{file}: {problem}; run `ssmlab doctor --fix`")
    try:
        stages = YAML(typ="safe").load(content.decode())["stages"]
        return [with_files(output, cache) for output in outputs_of(stages)]
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{file}: damaged; run `ssmlab doctor --fix`") from None


def outputs_of(stages: Any) -> Iterator[RecordedOutput]:
    """The outputs of the `stages` of a parsed dvc.lock; errors of a wrong shape are not caught here."""
    for stage, entry in stages.items():
        for out in entry.get("outs", []):
            yield RecordedOutput(str(stage), str(out["path"]), str(out["md5"]))


def with_files(output: RecordedOutput, cache: Path) -> RecordedOutput:
    """The output with its list of files, if it is a folder and the cache still has the complete list."""
    if not output.is_folder:
        return output
    try:
        content = read_file(object_path(cache, output.md5))
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != output.md5.removesuffix(".dir"):
            return output
        files = {str(each["relpath"]): str(each["md5"]) for each in parse_json(content)}
    except (OSError, ValueError, LookupError, TypeError):
        return output
    return RecordedOutput(output.stage, output.path, output.md5, files)


def object_path(cache: Path, md5: str) -> Path:
    """Where DVC's cache keeps the bytes of this hash."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def folder_md5(folder: Path) -> str:
    """The hash that DVC gives a folder: of the list of its files, sorted by path, as JSON."""
    names = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": file_md5(path), "relpath": name} for name, path in names]
    text = json.dumps(entries, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def file_md5(path: Path, advance: Callable[[int], object] | None = None) -> str:
    """The MD5 of a file's bytes; `advance` gets the length of each piece. Raises OSError if it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    with naming(path), open_regular(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if advance is not None:
                advance(len(chunk))
    return digest.hexdigest()
