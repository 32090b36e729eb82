"""The files in a folder, an archive or a compressed file. Nothing is ever written under a name from an archive.

Archives are hostile until proven. A member whose name leads out (`..`, absolute, backslashes, drives), a link, a
device, a name that comes twice, encryption, more than a real data set unpacks to, a wrong checksum or an early end:
each refuses the archive whole. The files of a folder are read in member, and links in it are followed: it is the
person's own, who may have made it of links.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO, FileIO
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.core.progress import ProgressMeter
from ssmlab.ingest.unpack import (
    DAMAGE_ERRORS,
    MAX_IN_MEMORY,
    MIB,
    ByteRange,
    Unpacker,
    damaged_error,
    open_compressed,
    printable_name,
    read_error,
)

MAX_MEMBERS = 2_000_000  # ImageNet has 1.43 million
MAX_FEW_FILES = 64  # in a layout that has few files, such as MNIST with its four
MAX_FOLDERS = 50_000  # in a tar; each costs 512 bytes, which compress to nothing
MAX_DIRECTORY = 4 << 20  # bytes of a zip's directory; about 50,000 files
ZIP_TAIL = 1 << 17  # bytes at the end of a zip, where the size of its directory is written
ZIP64 = 0xFFFFFFFF  # stands in a field of 4 bytes for a number that needs 8
TAR_BLOCK = 512
TAR_HEADER = MIB  # bytes; long names are in headers, but nothing longer than this
SUFFIXES = (".gz", ".xz", ".bz2")
JUNK = ("thumbs.db", "desktop.ini")
NO_TEXT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")  # control characters, and bytes that were not UTF-8


class Members:
    """The files of a folder or archive, by name, with `/` between folders; a folder that wraps them all is left out.

    Attributes:
        origin: what the person gave.
        files: where each file lies, as it is: maybe compressed.
        empty_folders: the folders that nothing lies in, sorted.
        unpacker: where it can be unpacked to.
    """

    def __init__(self, origin: Path, files: dict[str, ByteRange], folders: list[str], unpacker: Unpacker) -> None:
        self.origin, self.unpacker = origin, unpacker
        self.files = strip_wrapper(files)
        wrapped = self.files.keys() != files.keys()
        inside = (name.partition("/")[2] if wrapped else name for name in folders)
        parents = {parent for name in self.files for parent in parent_folders(name)}
        self.empty_folders = sorted({name for name in inside if name and not is_junk(name)} - parents)
        self.unpacked: dict[str, ByteRange] = {}

    def names(self) -> list[str]:
        """All names, sorted, so that the order does not depend on the archiver or the file system."""
        return sorted(self.files)

    def find(self, name: str) -> ByteRange | None:
        """The file called `name`, unpacked if it is there as NAME.gz, .xz or .bz2; None if it is not there.

        Raises:
            UserError: it is damaged, or unpacks to too much.
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
                f"{self.origin}: {printable_name(member.name)}: has {member.length:,} bytes, at most {most:,} belong"
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
        """Raises UserError if there are many files, where the layout has few."""
        if len(self.files) > MAX_FEW_FILES:
            raise UserError(f"{self.origin}: holds {len(self.files):,} files, and {layout} are few; remove the others")

    def error(self, name: str, problem: str) -> UserError:
        """An error that names the archive and the member."""
        return UserError(f"{self.origin}: {printable_name(name)}: {problem}")


def open_members(path: Path, workdir: Path, listen: Listener = silence) -> Members:
    """The files in the folder, archive or compressed file `path`.

    Args:
        workdir: an empty folder, to be kept as long as the files are read; what has to be unpacked goes into at most
            two files there, under names of our own.

    Raises:
        UserError: there is nothing at `path`, it is damaged, or holds what no data set does.
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
            raise UserError(f"{archive}: {printable_name(name) or 'its top folder'}: comes twice; refused")
        count = count_member(archive, count)
        files[name] = member
    return files


def unpack_zip(
    archive: Path, whole: ByteRange, unpacker: Unpacker, folders: list[str], listen: Listener
) -> Iterator[tuple[str, ByteRange]]:
    """Unpack the files of a zip; raises UserError if one is damaged, encrypted or not a plain file."""
    try:
        check_directory(archive, whole)
        with zipfile.ZipFile(whole.path) as opened:
            meter = ProgressMeter(len(opened.infolist()), from_first_step=True)
            for member in opened.infolist():
                meter.advance()
                meter.report(listen, f"unpacking {archive.name} (files)")
                name = safe_name(archive, member.orig_filename)
                if member.flag_bits & 0x2041:  # encrypted, strongly encrypted, with a masked directory
                    raise UserError(f"{archive}: {printable_name(name)}: is encrypted; unpack the archive by hand")
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise UserError(f"{archive}: {printable_name(name)}: is a link or a device; refused")
                if member.is_dir():
                    folders.append(name)
                elif not is_junk(name):
                    with opened.open(member) as stream:
                        yield name, unpacker.unpack(name, stream)
    except (*DAMAGE_ERRORS, ValueError, OverflowError) as error:
        raise damaged_error(archive, "the zip archive", error) from None


def check_directory(archive: Path, whole: ByteRange) -> None:
    """Refuse a zip that is mostly a list of empty files or folders, before `zipfile` makes an object of each.

    Raises:
        UserError: its directory is larger than MAX_DIRECTORY, and than what is in its files.
    """
    tail = replace(whole, offset=max(0, whole.length - ZIP_TAIL), length=min(whole.length, ZIP_TAIL)).read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 16:
        return  # `zipfile` says what is wrong
    (size,) = struct.unpack("<I", tail[at + 12 : at + 16])
    if size == ZIP64:
        at = tail.rfind(b"PK\x06\x06", 0, at)  # the longer form of the same record, right before it
        size = struct.unpack("<Q", tail[at + 40 : at + 48])[0] if at >= 0 and len(tail) >= at + 48 else whole.length
    # a directory takes at least as much for each file as the file's own header does, so it is half of an empty zip
    if size > MAX_DIRECTORY and size > 0.4 * whole.length:
        raise UserError(f"{archive}: is mostly a list of empty files or folders; give an archive of the images alone")


def list_tar(archive: Path, whole: ByteRange, folders: list[str]) -> Iterator[tuple[str, ByteRange]]:
    """Find where the files of a tar lie in it; raises UserError if it is cut short or one is not a plain file."""
    try:
        with HeadersOnly(whole.path) as file, tarfile.open(fileobj=file, mode="r:") as opened:
            empty = 0
            while (member := opened.next()) is not None:
                opened.members = []  # type: ignore[attr-defined]  # it would keep every header in memory
                if member.size < 0 or member.offset_data + member.size > whole.length:
                    raise tarfile.ReadError("a member goes past the end")
                name = safe_name(archive, member.name)
                if member.isreg() and not member.issparse():
                    yield name, ByteRange(name, whole.path, member.offset_data, member.size)
                elif member.isdir():
                    folders.append(name)
                else:
                    raise UserError(f"{archive}: {printable_name(name)}: is a link, a device or sparse; refused")
                empty += member.size == 0
                if empty > MAX_FOLDERS:
                    raise UserError(f"{archive}: holds more than {MAX_FOLDERS:,} empty files or folders; refused")
            end = ByteRange("the end", whole.path, opened.offset, max(0, min(TAR_BLOCK, whole.length - opened.offset)))
        # tarfile takes a header that it cannot read for the end, but the true end is a block of zeros
        if end.read() != bytes(TAR_BLOCK):
            raise tarfile.ReadError("no end mark")
    except (tarfile.TarError, *DAMAGE_ERRORS, ValueError, OverflowError) as error:
        raise damaged_error(archive, "the tar archive", error) from None


class HeadersOnly(FileIO):
    """A file that refuses to read a piece longer than a tar header, because a header may ask for any length."""

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; raises tarfile.ReadError for more than TAR_HEADER."""
        if size is None or not 0 <= size <= TAR_HEADER:
            raise tarfile.ReadError("a header is too long")
        return super().read(size) or b""


def safe_name(archive: Path, name: str) -> str:
    """A member's name without `./`; raises UserError if it could lead out of a folder on any system."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    drive = len(name) > 1 and name[1] == ":" and name[0].isalpha()
    if not name or name.startswith("/") or ".." in parts or "\\" in name or drive:
        raise UserError(
            f"{archive}: {printable_name(name) or 'a member without a name'}: could lead out of the archive; refused"
        )
    check_letters(archive, name)
    return "/".join(parts)


def check_letters(origin: Path, name: str) -> None:
    """Refuse control characters and broken Unicode in a name: it goes into messages and files; raises UserError."""
    if NO_TEXT.search(name):
        raise UserError(
            f"{origin}: {printable_name(name)}: has characters in its name that no text can hold; rename it"
        )


def is_junk(name: str) -> bool:
    """Whether a file is left by a desktop or an editor: hidden files, macOS's resource forks, Windows' thumbnails."""
    parts = name.split("/")
    return any(part.startswith(".") or part == "__MACOSX" for part in parts) or parts[-1].lower() in JUNK


def strip_wrapper(files: dict[str, ByteRange]) -> dict[str, ByteRange]:
    """The files without the one folder that wraps them all, if there is one."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or any("/" not in name for name in files):
        return files
    return {name.partition("/")[2]: member for name, member in files.items()}


def parent_folders(name: str) -> Iterator[str]:
    """Every folder that a file of this name lies in: `a` and `a/b` for `a/b/c`."""
    at = name.rfind("/")
    while at > 0:
        yield name[:at]
        at = name.rfind("/", 0, at)


def count_member(origin: Path, count: int) -> int:
    """`count` plus one; raises UserError if that is more than any data set has."""
    if count >= MAX_MEMBERS:
        raise UserError(f"{origin}: holds more than {MAX_MEMBERS:,} files; give a folder of the data set alone")
    return count + 1


def raise_error(error: OSError) -> None:
    """Makes `os.walk` fail on a folder that it cannot read; it would leave the folder out."""
    raise error
