"""Names of files from outside: which are refused, which are ignored, and which folders they are in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from ssmlab.core.errors import UserError
from ssmlab.ingest.unpack import printable_name

MAX_MEMBERS = 2_000_000  # ImageNet has 1.43 million
JUNK = ("thumbs.db", "desktop.ini")
NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and bytes that were not UTF-8

T = TypeVar("T")


def safe_name(archive: Path, name: str) -> str:
    """A member's name without `./`; raises UserError if on any system it could lead out of the archive's folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    drive = len(name) > 1 and name[1] == ":" and name[0].isalpha()
    if not name or name.startswith("/") or ".." in parts or "\\" in name or drive:
        raise UserError(
            f"{archive}: {printable_name(name) or 'a member without a name'}: could lead out of the archive; refused"
        )
    check_letters(archive, name)
    return "/".join(parts)


def check_letters(origin: Path, name: str) -> None:
    """Raises UserError for control characters and broken Unicode in a name, because it goes into messages and files."""
    if NO_TEXT.search(name):
        raise UserError(
            f"{origin}: {printable_name(name)}: has characters in its name that no text can hold; rename it"
        )


def is_junk(name: str) -> bool:
    """Whether a desktop or an editor made the file: hidden files, macOS's resource forks, Windows' thumbnails."""
    parts = name.split("/")
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1].lower() in JUNK


def strip_wrapper(files: dict[str, T], folders: Iterable[str]) -> dict[str, T]:
    """The files without the one folder that wraps them and all `folders`, if there is one."""
    tops = {name.partition("/")[0] for name in (*files, *folders)}
    if len(tops) != 1 or any("/" not in name for name in files):
        return files
    return {name.partition("/")[2]: member for name, member in files.items()}


def parent_folders(name: str) -> Iterator[str]:
    """Every folder that contains a file of this name: `a/b` and `a` for `a/b/c`."""
    at = name.rfind("/")
    while at > 0:
        yield name[:at]
        at = name.rfind("/", 0, at)


def count_member(origin: Path, count: int) -> int:
    """`count` plus one; raises UserError if that is more files than any data set has."""
    if count >= MAX_MEMBERS:
        raise UserError(f"{origin}: holds more than {MAX_MEMBERS:,} files; give a folder of the data set alone")
    return count + 1
