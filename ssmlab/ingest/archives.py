"""The files in a folder, an archive or a compressed file. Nothing is ever written under a name from an archive.

Archives are not trusted. ssmlab refuses the whole archive if it finds any of the following: a member whose name leads
out of the archive (`..`, absolute, backslashes, drives), a link, a device, a duplicate name, encryption, more data than
a real data set unpacks to, a wrong checksum, or an early end. A folder is trusted, because it belongs to the user: its
files are read in place, and its links are followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.core.progress import ProgressMeter
from ssmlab.core.text import printable
from ssmlab.ingest.member_names import check_letters, count_member, is_junk, parent_folders, strip_wrapper
from ssmlab.ingest.tar_files import TAR_BLOCK, list_tar
from ssmlab.ingest.unpack import (
    MAX_IN_MEMORY,
    MIB,
    ByteRange,
    Unpacker,
    open_compressed,
    printable_name,
    read_error,
)
from ssmlab.ingest.zip_files import unpack_zip

MAX_FEW_FILES = 64  # in a layout that has few files, such as MNIST with its four
SUFFIXES = (".gz", ".xz", ".bz2")


class Members:
    """The files of a folder or archive by name, with `/` between folders and without a folder that wraps them all.

    Attributes:
        origin: the path that the user gave.
        files: where the bytes of each file are; they may be compressed.
        empty_folders: the folders without files, sorted.
        unpacker: unpacks compressed files.
    """

    def __init__(self, origin: Path, files: dict[str, ByteRange], folders: list[str], unpacker: Unpacker) -> None:
        self.origin, self.unpacker = origin, unpacker
        folders = [name for name in folders if name and not is_junk(name)]
        self.files = strip_wrapper(files, folders)
        wrapped = self.files.keys() != files.keys()
        inside = (name.partition("/")[2] if wrapped else name for name in folders)
        parents = {parent for name in self.files for parent in parent_folders(name)}
        self.empty_folders = sorted({name for name in inside if name} - parents)
        self.unpacked: dict[str, ByteRange] = {}

    def names(self) -> list[str]:
        """All names, sorted, so that the order does not depend on the archiver or the file system."""
        return sorted(self.files)

    def find(self, name: str) -> ByteRange | None:
        """The file called `name`, unpacked if it exists as NAME.gz, .xz or .bz2; None if there is no such file.

        Raises:
            UserError: it is damaged, or unpacks to too many bytes.
        """
        if name in self.files:
            return self.files[name]
        if name not in self.unpacked:
            packed = next((name + suffix for suffix in SUFFIXES if name + suffix in self.files), None)
            if packed is None:
                return None
            self.unpacked[name] = self.unpack(packed)
        return self.unpacked[name]

    def unpack(self, name: str) -> ByteRange:
        """A compressed member, unpacked."""
        content = self.content(self.files[name])
        stream = open_compressed(BytesIO(content), content[:6])
        if stream is None:
            raise UserError(
                f"{self.origin}: {printable_name(name)}: is not compressed, as its name says; get the file again"
            )
        return self.unpacker.unpack(name, stream)

    def content(self, member: ByteRange, most: int = MAX_IN_MEMORY) -> bytes:
        """All bytes of a member; raises UserError if there are more than `most`."""
        if member.length > most:
            raise UserError(
                f"{self.origin}: {printable_name(member.name)}: has {member.length:,} bytes, "
                f"but at most {most:,} are expected; get the file again"
            )
        return member.read()

    def text(self, name: str, most: int = 16 * MIB) -> list[str] | None:
        """The lines of a text file, without empty ones; None if there is no such file.

        Raises:
            UserError: it is not UTF-8, or longer than `most` bytes.
        """
        member = self.find(name)
        if member is None:
            return None
        try:
            return [line for line in self.content(member, most).decode().splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise self.error(name, "is not a text in UTF-8") from None

    def require_few_files(self, layout: str) -> None:
        """Raises UserError if there are many files, for a layout that has only a few."""
        if len(self.files) > MAX_FEW_FILES:
            raise UserError(
                f"{self.origin}: holds {len(self.files):,} files, too many for {layout}; remove those of other data"
            )

    def error(self, name: str, problem: str) -> UserError:
        """An error that names the archive and the member; `problem` may quote the file, so it is made printable too."""
        return UserError(f"{self.origin}: {printable_name(name)}: {printable(problem)}")


def open_members(path: Path, workdir: Path, listen: Listener = silence) -> Members:
    """The files in the folder, archive or compressed file `path`.

    Args:
        workdir: an empty folder that must exist while the files are read; at most two files are written there, under
            names that do not come from the archive.

    Raises:
        UserError: there is nothing at `path`, it is damaged, or holds something that no data set contains.
    """
    folders: list[str] = []
    try:
        if path.is_dir():
            files = dict(list_folder(path, folders))
            return Members(
                path, files, folders, Unpacker(path, workdir, sum(member.length for member in files.values()))
            )
        if path.is_file():
            unpacker = Unpacker(path, workdir, path.stat().st_size)
            return Members(path, list_file(path, unpacker, folders, listen), folders, unpacker)
    except OSError as error:
        raise read_error(Path(error.filename or path), error) from None
    problem = "is neither a folder nor a file" if path.exists() else "there is no such folder or file"
    raise UserError(f"{path}: {problem}; data.source takes the path of an archive or a folder")


def list_folder(folder: Path, found: list[str]) -> Iterator[tuple[str, ByteRange]]:
    """Every file under `folder`, through links; the names of the folders in it are added to `found`.

    Raises:
        UserError: there are devices, broken links or circular links.
    """
    seen = set()
    count = 0
    for top, folders, files in os.walk(folder, onerror=raise_error, followlinks=True):
        status = Path(top).stat()
        if (status.st_dev, status.st_ino) in seen:
            raise UserError(f"{printable_name(top)}: is reached twice through links; remove one of them")
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not is_junk(name)]
        found += [Path(top, name).relative_to(folder).as_posix() for name in folders]
        for name in files:
            path = Path(top, name)
            relative = path.relative_to(folder).as_posix()
            if is_junk(relative):
                continue
            check_letters(folder, relative)
            if not path.is_file():
                raise UserError(f"{printable_name(str(path))}: is a broken link or not a file; remove it")
            count = count_member(folder, count)
            yield relative, ByteRange(relative, path, 0, path.stat().st_size)


def list_file(path: Path, unpacker: Unpacker, folders: list[str], listen: Listener) -> dict[str, ByteRange]:
    """The files in an archive, or the one compressed or plain file at `path`; the names of folders go to `folders`."""
    with path.open("rb") as file:
        magic = file.read(TAR_BLOCK)
        file.seek(0)
        whole = ByteRange(path.name, path, 0, path.stat().st_size)
        stream = open_compressed(file, magic)
        if stream is not None:
            meter = ProgressMeter(whole.length / MIB, from_first_step=True)

            def watch() -> None:
                meter.advance_to(file.tell() / MIB)
                meter.report(listen, f"unpacking {path.name} (MiB)")

            whole = unpacker.unpack_separately(path.name, stream, watch)
            magic = ByteRange(whole.name, whole.path, 0, min(TAR_BLOCK, whole.length)).read()
    if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        members = unpack_zip(path, whole, unpacker, folders, listen)
    elif magic[257:262] == b"ustar":
        members = list_tar(path, whole, folders)
    else:
        name = path.name if stream is None else path.stem
        return {name: whole}
    return index_members(path, members)


def index_members(archive: Path, members: Iterable[tuple[str, ByteRange]]) -> dict[str, ByteRange]:
    """The members of an archive by their names; raises UserError if a name comes twice."""
    files: dict[str, ByteRange] = {}
    count = 0
    for name, member in members:
        if is_junk(name):
            continue
        if not name or name in files:
            raise UserError(
                f"{archive}: {printable_name(name) or 'its top folder'}: is in the archive twice; "
                "unpack it by hand and give the folder"
            )
        count = count_member(archive, count)
        files[name] = member
    return files


def raise_error(error: OSError) -> None:
    """Makes `os.walk` fail on a folder that it cannot read; by default it would skip the folder."""
    raise error
