"""What images may be called: whether they are the data set of that name, a part of it, or something near it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.data.header import PartName, Provenance
from ssmlab.ingest.catalog import Download, Known
from ssmlab.ingest.formats.base import Found
from ssmlab.ingest.source import Part
from ssmlab.ingest.unpack import Place, shown

WORDS: dict[PartName, str] = {"train": "training", "validation": "validation", "test": "test"}
ANOTHER = "give data.name a name of your own"


@dataclass(frozen=True)
class Identity:
    """What a source is: the first three fields of `ssmlab.ingest.source.Source`."""

    name: str
    description: str
    provenance: Provenance


def identify(name: str, known: Known | None, found: Found, path: Path) -> Identity:
    """Compare what lies at `path` with what is known of the data set `name`.

    Raises:
        UserError: it claims to be a data set that it cannot be: it has more images, another shape or other content.
    """
    where = shown(path.absolute().name)
    if known is None:
        return Identity(name, f"own images from {where}: {counts(found.parts)}", "own")
    if known.embedded:
        raise UserError(f"{path}: {name} comes with a Python package, not from a path; set data.source to auto")
    check_fits(known, found, path)
    if found.layout != known.layout:
        check_names(known, found, path)
        near = f"{known.title} re-encoded ({found.kind} files), which is not {known.title} itself"
        description = f"{near}: {counts(found.parts, known.counts)}, from {where}"
        return Identity(f"{known.name}-{found.kind}", description, "re-encoded")
    if not is_whole(known, found):
        classes = len(found.class_names)
        some = f", {classes} of {known.classes} classes" if 0 < classes < known.classes else ""
        description = f"a part of {known.title}: {counts(found.parts, known.counts)}{some}, from {where}"
        return Identity(name, f"{description}; no checksum is known of a part", "partial")
    check = checked_by(known, found, path)
    return Identity(name, f"{known.title}: {counts(found.parts)}, from {where}; official by {check}", "official")


def check_fits(known: Known, found: Found, path: Path) -> None:
    """Refuse what cannot be the known data set in any encoding; raises UserError."""
    if found.image_shape is not None and found.image_shape != known.image_shape:
        has, should = (" x ".join(map(str, shape)) for shape in (found.image_shape, known.image_shape))
        raise UserError(f"{path}: its images are {has}, and those of {known.title} {should}; {ANOTHER}")
    if len(found.class_names) > known.classes:
        raise UserError(f"{path}: has {len(found.class_names)} classes, and {known.title} {known.classes}; {ANOTHER}")
    for part, images in found.parts.items():
        most = known.counts.get(part, 0)
        if len(images) > most:
            raise UserError(
                f"{path}: has {len(images):,} {WORDS[part]} images, and {known.title} has {most:,}; {ANOTHER}"
            )


def check_names(known: Known, found: Found, path: Path) -> None:
    """Refuse another layout whose classes are not the known ones, by their names; raises UserError."""
    if known.class_names and (strange := [name for name in found.class_names if name not in known.class_names]):
        raise UserError(f"{path}: has a class {shown(strange[0])}, and {known.title} has none of that name; {ANOTHER}")


def is_whole(known: Known, found: Found) -> bool:
    """Whether as many images are there as were published."""
    return all(part in found.parts and len(found.parts[part]) == count for part, count in known.counts.items())


def checked_by(known: Known, found: Found, path: Path) -> str:
    """What shows that all images are the published ones, in words; raises UserError if their checksum is another."""
    if has_checksums_of(known, path):
        return "its publisher's checksum of the archive"
    if not found.files or any(file not in known.content for file in found.files):
        return "layout and counts; no checksum was compared"
    for file, place in found.files.items():
        if not has_checksum(place, known.content[file]):
            raise UserError(f"{path}: {file}: is not the one of {known.title}, its checksum is another; {ANOTHER}")
    return "the checksums of its content"


def has_checksums_of(known: Known, path: Path) -> bool:
    """Whether `path` is the publisher's archive, or the folder with all of them, byte for byte."""
    if path.is_dir():
        return bool(known.downloads) and all(is_download(each, path / each.file) for each in known.downloads)
    return len(known.downloads) == 1 and is_download(known.downloads[0], path)


def is_download(download: Download, path: Path) -> bool:
    """Whether the file at `path` is the one the publisher serves."""
    if not path.is_file() or (download.size is not None and path.stat().st_size != download.size):
        return False
    return has_checksum(Place(path.name, path, 0, path.stat().st_size), f"md5:{download.md5}")


def has_checksum(place: Place, checksum: str) -> bool:
    """Whether the bytes have the SHA-256, or MD5 with `md5:` in front."""
    algorithm, _, digits = checksum.rpartition(":")
    return place.digest(algorithm or "sha256") == digits


def counts(parts: Mapping[PartName, Part], of: Mapping[PartName, int] | None = None) -> str:
    """`60,000 training and 10,000 test images`, or `5,085 of 50,000 training and 0 of 10,000 test images`."""
    told = []
    for part, word in WORDS.items():
        has = len(parts.get(part, ()))
        whole = None if of is None else of.get(part)
        if whole is not None and has != whole:
            told.append(f"{has:,} of {whole:,} {word}")
        elif has:
            told.append(f"{has:,} {word}")
    return f"{' and '.join((', '.join(told[:-1]), told[-1]) if told[1:] else told)} images"
