"""Unpacking zip archives. One encrypted, damaged or special member is enough to refuse the archive."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener
from ssmlab.core.progress import ProgressMeter
from ssmlab.ingest.member_names import is_junk, safe_name
from ssmlab.ingest.unpack import DAMAGE_ERRORS, ByteRange, Unpacker, damaged_error, printable_name

MAX_DIRECTORY = 4 << 20  # bytes of a zip's directory, enough for about 50,000 files
ZIP_TAIL = 1 << 17  # bytes at the end of a zip, which contain the size of its directory
ZIP64 = 0xFFFFFFFF  # the value of a 4-byte field whose number needs 8 bytes


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
    """Refuse a zip that is mostly a list of empty files or folders, before `zipfile` makes an object for each.

    Raises:
        UserError: its directory is larger than MAX_DIRECTORY and larger than the content of its files.
    """
    tail = replace(whole, offset=max(0, whole.length - ZIP_TAIL), length=min(whole.length, ZIP_TAIL)).read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 16:
        return  # `zipfile` says what is wrong
    (size,) = struct.unpack("<I", tail[at + 12 : at + 16])
    if size == ZIP64:
        at = tail.rfind(b"PK\x06\x06", 0, at)  # the longer form of the same record, right before it
        size = struct.unpack("<Q", tail[at + 40 : at + 48])[0] if at >= 0 and len(tail) >= at + 48 else whole.length
    # for each file the directory has an entry at least as large as the file's header: half of a zip of empty files
    if size > MAX_DIRECTORY and size > 0.4 * whole.length:
        raise UserError(f"{archive}: is mostly a list of empty files or folders; give an archive of the images alone")
