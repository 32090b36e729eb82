"""Checks whether the files of a study are as they were written. Every file is read and hashed; nothing is changed.

Files are compared with two sources. Our own formats contain a digest of their content, or a manifest next to them has
their hashes. In addition, dvc.lock has the MD5 of every output, and DVC's cache keeps a second copy of the output. A
file that agrees with its own digest but not with dvc.lock was made without DVC. A file that agrees with neither is
damaged.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.core.progress import ProgressMeter
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_cache import cache_folder_of
from ssmlab.project.own_digests import check_prepared, own_checks
from ssmlab.project.recorded import RecordedOutput, file_md5, folder_md5, object_path, recorded_outputs

FileState = Literal["whole", "unregistered", "damaged", "missing"]
MB = 1e6


@dataclass(frozen=True)
class CheckedFile:
    """What was found about one file.

    Attributes:
        path: relative to the project's folder.
        state: `unregistered` files agree with their own digest, but are not the ones that dvc.lock records.
        problem: what is wrong, in a few words. remedy: the command that repairs it. Both are empty if nothing is wrong.
    """

    path: str
    state: FileState
    problem: str = ""
    remedy: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether the file must be made again."""
        return self.state in ("damaged", "missing")


class Verifier:
    """Checks the files of one study; `meter` and `on_event` follow the bytes that are read."""

    def __init__(self, paths: Paths, cache: Path, on_event: Listener) -> None:
        self.paths, self.cache, self.on_event = paths, cache, on_event
        self.found: list[CheckedFile] = []
        self.own = dict(own_checks(paths))
        try:
            self.outputs = recorded_outputs(paths.root, cache)
        except UserError:
            self.outputs = []
            self.add("dvc.lock", "damaged", "it is incomplete", "ssmlab doctor --fix")
        self.meter = ProgressMeter(sum(map(size_of, self.files())) / MB)

    def files(self) -> Iterator[Path]:
        """The files to read; a file with digests from both DVC and ssmlab is listed twice."""
        yield from self.own
        for output in self.outputs:
            for name, md5 in files_of(output):
                yield from (self.paths.root / name, object_path(self.cache, md5))

    def add(self, path: str | Path, state: FileState, problem: str = "", remedy: str = "") -> None:
        """Record what was found about a file."""
        self.found.append(CheckedFile(self.name(path), state, problem, remedy))

    def name(self, path: str | Path) -> str:
        """A file's path, relative to the project's folder if it is in there."""
        path = Path(path)
        root = self.paths.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()

    def run(self) -> list[CheckedFile]:
        """Check everything."""
        recorded: set[Path] = set()
        for output in self.outputs:
            if output.is_folder and output.files is None:
                self.check_folder(output)
            for name, md5 in files_of(output):
                recorded.add(self.paths.root / name)
                self.check_recorded(output, self.paths.root / name, md5)
        for path in self.own:
            if path not in recorded:
                problem = self.own_problem(path)
                self.add(path, "damaged" if problem else "whole", problem, made_again(self.name(path)) * bool(problem))
        return self.found

    def check_recorded(self, output: RecordedOutput, path: Path, md5: str) -> None:
        """Check one file of an output, and the copy of it in DVC's cache."""
        copy = object_path(self.cache, md5)
        copy_md5 = self.md5_of(copy)
        place = shlex.quote(self.name(path))
        again = f"rm -f {place} && " + (
            f"dvc checkout {shlex.quote(output.path)}" if copy_md5 == md5 else f"ssmlab repro {output.stage}"
        )
        found = self.md5_of(path)
        if found is None:
            self.add(path, "missing", "the file does not exist", again)
        elif found == md5:
            self.add(path, "whole")
        elif (problem := self.own_problem(path)) or path not in self.own or self.own[path] is check_prepared:
            self.add(path, "damaged", problem or "its bytes are not those that DVC recorded", again)
        else:
            remedy = f"dvc commit --force {output.stage}"
            self.add(path, "unregistered", "undamaged, but made without DVC", remedy)
        if copy_md5 is not None and copy_md5 != md5:
            remedy = f"rm -f {shlex.quote(self.name(copy))} && "
            remedy += f"dvc commit --force {output.stage}" if found == md5 else f"ssmlab repro {output.stage}"
            self.add(copy, "damaged", f"DVC's copy of {self.name(path)}", remedy)

    def check_folder(self, output: RecordedOutput) -> None:
        """Check a folder whose list of files is not in the cache, as one thing."""
        folder = self.paths.root / output.path
        listing = object_path(self.cache, output.md5)
        whole = folder.is_dir() and folder_md5(folder) == output.md5
        if listing.exists():
            remedy = f"rm -f {shlex.quote(self.name(listing))} && "
            remedy += f"dvc commit --force {output.stage}" if whole else f"ssmlab repro {output.stage}"
            self.add(listing, "damaged", f"DVC's list of the files of {output.path}", remedy)
        if whole:
            self.add(output.path, "whole")
        elif not folder.is_dir():
            self.add(output.path, "missing", "the file does not exist", f"ssmlab repro {output.stage}")
        elif not any(path.is_relative_to(folder) for path in self.own):
            self.add(
                output.path, "damaged", "its files are not those that DVC recorded", f"ssmlab repro {output.stage}"
            )

    def own_problem(self, path: Path) -> str:
        """The problem according to the file's own digest, in a few words; empty if there is none, or no digest."""
        check = self.own.get(path)
        if check is None:
            return ""
        self.advance(size_of(path))
        try:
            check(path)
        except UserError as error:
            return str(error).removeprefix(f"{path}: ").partition("; ")[0]
        return ""

    def md5_of(self, path: Path) -> str | None:
        """The MD5 of a file; None if it does not exist; empty if it cannot be read."""
        try:
            return file_md5(path, self.advance)
        except FileNotFoundError:
            return None
        except OSError:
            return ""

    def advance(self, length: int) -> None:
        """Report that `length` more bytes were read."""
        self.meter.advance(length / MB)
        self.meter.report(self.on_event, "verifying, MB")


def verify(paths: Paths, on_event: Listener = silence) -> list[CheckedFile]:
    """Check every file of the study in use: our formats by their digests, outputs and their copies by dvc.lock."""
    return Verifier(paths, cache_folder_of(paths.root), on_event).run()


def files_of(output: RecordedOutput) -> Sequence[tuple[str, str]]:
    """Path and MD5 of every known file of an output."""
    if output.is_folder:
        return [(f"{output.path}/{name}", md5) for name, md5 in (output.files or {}).items()]
    return [(output.path, output.md5)]


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def made_again(name: str) -> str:
    """The command that recreates a file that DVC does not know."""
    kind, *rest = Path(name).parts
    place = shlex.quote(name)
    if kind == "models" and rest[0] == "imported":
        return f"rm -rf {shlex.quote(str(Path(name).parent))} && ssmlab import FILE"
    if kind == "models":
        return f"ssmlab train {rest[1]}"
    if kind == "runs":
        return f"rm -f {place}"  # the training then starts again from its beginning
    if kind == "results":
        return f"ssmlab {rest[1]} {Path(name).stem}"
    return "ssmlab prepare"
