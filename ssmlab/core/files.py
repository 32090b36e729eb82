"""Writes a file so that readers see the old or the new content, never a mixture; and reads only regular files."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import os
import stat
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.plain_values import parse_json

LARGEST_FILE = 2 * 2**30  # bytes read into memory; the largest published checkpoint has 4 MiB, its state 18 MiB


def write_atomic(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write `content` to `path`, creating its folder. Even after a crash the file is the complete old or new one.

    The bytes go to a temporary file in the same folder, which is flushed, synced and renamed to `path`. Then the folder
    is synced, so that the rename itself survives a power cut. The mode follows the umask. `durable=False` leaves out
    the syncs, for files that are rewritten every second and have no value after a crash.

    Temporary files for `path` that killed processes have left behind are removed first.

    Raises:
        UserError: the disk is full or the folder cannot be written. The file at `path` is then unchanged, or it is the
            new one if only the sync of the folder failed.
    """
    clear_the_way(path)
    replace_file(path, as_bytes(content), durable)
    if durable:
        sync_names(path)


def write_changed(files: Mapping[Path, str] | Mapping[Path, bytes | str], durable: bool = True) -> None:
    """Write the files whose bytes on the disk are not these, as `write_atomic` does, but sync each folder only once.

    Hundreds of files cost little if few of them have changed. `durable=False` leaves out the syncs, for files that are
    compared and written again by the next call: then a power cut can leave them empty, but a killed process cannot.

    Raises:
        UserError: as `write_atomic`; the files before the one that failed are written.
    """
    written: dict[Path, list[Path]] = {}
    changed = {path: data for path, content in files.items() if not holds(path, data := as_bytes(content))}
    for path in changed:
        written.setdefault(path.parent, []).append(path)
    for paths in written.values():
        clear_the_way(*paths)
    for path, data in changed.items():
        replace_file(path, data, durable)
    if durable:
        for paths in written.values():
            sync_names(paths[-1])


def as_bytes(content: bytes | str) -> bytes:
    """Text as UTF-8."""
    return content.encode() if isinstance(content, str) else content


def holds(path: Path, content: bytes) -> bool:
    """Whether the file is there and has exactly this content."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def clear_the_way(*paths: Path) -> None:
    """Create the folder of these files, which must share one, and remove what killed processes left for them there."""
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        sweep_leftovers(*paths)
    except OSError as error:
        raise not_written(paths[0], error) from error


def not_written(path: Path, error: OSError) -> UserError:
    """The error for a file that could not be written and is unchanged."""
    return UserError(f"{cannot(path, 'written', error)}; any earlier file is unchanged")


def replace_file(path: Path, data: bytes, durable: bool) -> None:
    """`write_atomic` without the sync of the folder, which must exist."""
    temporary: Path | None = None
    try:
        temporary, file = open_temporary(path)
        with file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            temporary.replace(path)
        temporary = None
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        if temporary is not None:
            with suppress(OSError):  # the error that came first is the one to report
                temporary.unlink(missing_ok=True)


def sync_names(path: Path) -> None:
    """Make the names in the folder of a new file durable; raises UserError if that fails."""
    try:
        sync_folder(path.parent)
    except OSError as error:
        kept = "the new file is there, but a power cut could still undo it"
        raise UserError(f"{cannot(path, 'written', error)}; {kept}") from error


def open_temporary(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file next to `path`, open and locked, so that no other process takes it for a leftover while this one runs.

    It is created with the mode that the umask gives. So the mode need not be changed later, which some network drives
    refuse.
    """
    while True:
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
        file = temporary.open("xb")
        with suppress(OSError):  # a file system without locks: leftovers of a killed process then stay there
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, file
        file.close()  # it was taken for a leftover before it was locked


def sweep_leftovers(*paths: Path) -> None:
    """Remove temporary files that `write_atomic` left for these files of one folder when its process was killed.

    Such files are not locked any more.
    """
    folder, ours = paths[0].parent, tuple(f".{path.name}." for path in paths)
    for name in os.listdir(folder):  # noqa: PTH208 (pathlib takes ten times as long, for each of 1,000 files)
        if name.endswith(".tmp") and name.startswith(ours):
            leftover = folder / name
            with suppress(OSError), leftover.open("r+b") as file:  # it is another user's, locked, or gone
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()


def remove_other_files(folder: Path, kept: Container[Path]) -> None:
    """Remove every file in `folder` and its subfolders, except those in `kept`."""
    for path in folder.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, as `fsync` makes a file's bytes durable, if the drive supports this."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # the error of drives that cannot sync folders
            raise
    finally:
        os.close(handle)


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV with `\\n` line ends; None is an empty field."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def expand_home(path: str) -> Path:
    """The path, with a leading `~` or `~NAME` replaced by that user's home; raises UserError if there is none."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such home folder; write the whole path") from None


def read_file(path: Path, largest: int = LARGEST_FILE) -> bytes:
    """The bytes of a regular file; unlike `Path.read_bytes`, it never waits for a pipe and never reads a device.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it is a folder, a pipe or a device, has more than `largest` bytes, or cannot be read.
    """
    with naming(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise OSError(errno.EFBIG, f"it is larger than {largest // 2**20} MiB", str(path))
        return file.read()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within this block an OSError names `path`; a failed read, unlike a failed opening, names no file by itself."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def open_regular(path: Path) -> io.BufferedReader:
    """A regular file, open for reading; raises OSError as `read_file`."""
    file = open(path, "rb", opener=open_at_once)  # noqa: SIM115 # pathlib has no opener; the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return file


def open_at_once(path: str, flags: int) -> int:
    """A descriptor of a file; opening a pipe would otherwise wait until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def sha256_text(text: str) -> str:
    """SHA-256 of UTF-8 text, as 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with naming(path), open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, what: str, remedy: str) -> Any:
    """The value in a JSON file.

    Args:
        what: what the file should have been, for the error ("the attack results of run ads").
        remedy: what to do if it does not exist ("run `ssmlab attack ads`").

    Raises:
        UserError: the file is missing, or is not JSON that `parse_json` takes.
    """
    try:
        return parse_json(read_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: not found ({what}); {remedy}") from None
    except OSError as error:
        raise UserError(f"{cannot(path, f'read as {what}', error)}; {remedy}") from None
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as {what} ({error}); {remedy}") from None
