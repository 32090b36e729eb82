"""What a stage with a fault has left: how it ended, its files, and what is wrong with either."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssmlab.artifacts.manifest import read_published
from ssmlab.core.errors import UserError
from tests.faults.inject_library import NEVER
from tests.tiny_project import RUN, STUDY

Files = dict[str, bytes]


def files_below(folder: Path) -> Files:
    """The bytes of every file, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def matching(files: Files, patterns: Sequence[str]) -> Files:
    return {name: content for name, content in files.items() if any(Path(name).match(each) for each in patterns)}


def timeless(name: str, content: bytes) -> bytes:
    """What two equal runs of a stage have in common: not the times of a history, nor the hash of one in a manifest."""
    if name.endswith("history.csv"):
        rows = [line.split(",") for line in content.decode().splitlines()]
        return "\n".join(",".join(row[:7] + row[9:]) for row in rows).encode() + content[-1:]
    if name.endswith("manifest.json"):
        document = json.loads(content)
        return json.dumps({**document, "digest": "", "files": {**document["files"], "history.csv": ""}}).encode()
    return content


def is_one_of(name: str, content: bytes, versions: Sequence[Files]) -> bool:
    """Whether a file is, byte for byte apart from times, what one of the versions has."""
    try:
        return any(name in each and timeless(name, content) == timeless(name, each[name]) for each in versions)
    except (ValueError, KeyError, IndexError):
        return False


@dataclass
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; negative: a signal.
        output: what it wrote to stdout and stderr.
        places: how often a fault of this kind could have happened; the default is that of a killed process.
        struck: the file whose read failed, or nothing.
    """

    code: int
    output: str
    places: int = NEVER
    struck: str = ""


def wrong_mixture(folder: Path, before: Files, after: Files) -> Iterator[str]:
    """A run's folder that is read without an error must be that of one training."""
    try:
        _, contents = read_published(folder)
    except UserError:
        return
    names = [name for name in contents if name.endswith(".safetensors")]
    for version in (before, after):
        if all(contents[name] == version[f"models/{STUDY}/{RUN}/{name}"] for name in names):
            return
    yield "best and last of two trainings are read as one"


def wrong_message(ended: Ended) -> Iterator[str]:
    """What is wrong with how a run ended that had a fault; nothing if it was killed."""
    if ended.code == -signal.SIGKILL:
        return
    if ended.code < 0:
        yield f"ended by signal {-ended.code}: {ended.output[-300:]!r}"
    errors = [line for line in ended.output.splitlines() if line.startswith("error: ")]
    if "Traceback" in ended.output or (ended.code and (len(errors) != 1 or len(errors[0]) > 700)):
        yield f"not one line (exit code {ended.code}): {ended.output[-1500:]!r}"
    if ended.code and ended.struck and not names(ended.struck, "".join(errors)):
        yield f"the error does not name {ended.struck}: {errors}"


def names(path: str, error: str) -> bool:
    """Whether an error names a file of the project; for the project itself or a temporary file, one beside it."""
    inside = Path(path.partition("/project")[2].lstrip("/"))
    lasting = [part for part in inside.parts if not part.endswith(".tmp")]
    if len(lasting) < len(inside.parts):
        return inside.parts[0] in error
    return not lasting or lasting[-1] in error
