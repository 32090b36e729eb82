"""Which name images may carry: that of a known data set, of a part of it, or of a re-encoding of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssmlab.core.errors import UserError
from ssmlab.data.header import DataProvenance, PartName
from ssmlab.ingest.catalog import CatalogEntry, Download
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.source import Part, Source
from ssmlab.ingest.unpack import ByteRange, printable_name

PART_WORDS: dict[PartName, str] = {"train": "training", "validation": "validation", "test": "test"}
RENAME_HINT = "give data.name a name of your own"


@dataclass(frozen=True)
class SourceIdentity:
    """The first three fields of `ssmlab.ingest.source.Source`: which data set the images are."""

    name: str
    description: str
    provenance: DataProvenance


def identify(name: str, known: CatalogEntry | None, layout: Layout, path: Path) -> SourceIdentity:
    """Compare the images at `path` with the catalogue's entry for the data set `name`.

    Raises:
        UserError: they cannot be that data set: there are too many, or shape or content differ.
    """
    origin = printable_name(path.absolute().name)
    if known is None:
        return SourceIdentity(name, f"own images from {origin}: {images_text(layout.parts)}", "own")
    if known.embedded:
        raise UserError(
            f"{path}: {name} is part of a Python package and cannot be read from a path; set data.source to auto, or "
            "give your own images another data.name"
        )
    check_fits(known, layout, path)
    if layout.name != known.layout:
        check_class_names(known, layout, path)
        near = f"{known.title} re-encoded ({layout.kind} files), which is not {known.title} itself"
        description = f"{near}: {images_text(layout.parts, known.counts)}, from {origin}"
        return SourceIdentity(f"{known.name}-{layout.kind}", description, "re-encoded")
    if not is_complete(known, layout):
        classes = len(layout.class_names)
        some = f", {classes} of {known.classes} classes" if 0 < classes < known.classes else ""
        description = f"a part of {known.title}: {images_text(layout.parts, known.counts)}{some}, from {origin}"
        return SourceIdentity(name, f"{description}; no checksum is known of a part", "partial")
    check = describe_check(known, layout, path)
    return SourceIdentity(
        name, f"{known.title}: {images_text(layout.parts)}, from {origin}; official by {check}", "official"
    )


def check_fits(known: CatalogEntry, layout: Layout, path: Path) -> None:
    """Raises UserError if the images cannot be the known data set in any encoding."""
    if layout.image_shape is not None and layout.image_shape != known.image_shape:
        has, should = (" x ".join(map(str, shape)) for shape in (layout.image_shape, known.image_shape))
        raise UserError(f"{path}: its images are {has}, but those of {known.title} are {should}; {RENAME_HINT}")
    if len(layout.class_names) > known.classes:
        raise UserError(
            f"{path}: has {len(layout.class_names)} classes, but {known.title} has {known.classes}; {RENAME_HINT}"
        )
    for part, images in layout.parts.items():
        most = known.counts.get(part, 0)
        if len(images) > most:
            raise UserError(
                f"{path}: has {len(images):,} {PART_WORDS[part]} images, but {known.title} only {most:,}; {RENAME_HINT}"
            )


def check_class_names(known: CatalogEntry, layout: Layout, path: Path) -> None:
    """Raises UserError if a class name is not one of the known data set's."""
    if known.class_names and (strange := [name for name in layout.class_names if name not in known.class_names]):
        raise UserError(
            f"{path}: has a class {printable_name(strange[0])} that {known.title} does not have; {RENAME_HINT}"
        )


def is_complete(known: CatalogEntry, layout: Layout) -> bool:
    """Whether every part has as many images as were published."""
    return all(part in layout.parts and len(layout.parts[part]) == count for part, count in known.counts.items())


def describe_check(known: CatalogEntry, layout: Layout, path: Path) -> str:
    """How it was checked that the images are the published ones, in words; raises UserError if a checksum differs."""
    if has_checksums_of(known, path):
        return "its publisher's checksum of the archive"
    if not layout.files or any(file not in known.content for file in layout.files):
        return "layout and counts; no checksum was compared"
    for name, file in layout.files.items():
        if not has_checksum(file, known.content[name]):
            raise UserError(f"{path}: {name}: its checksum differs from that of {known.title}; {RENAME_HINT}")
    return "the checksums of its content"


def has_checksums_of(known: CatalogEntry, path: Path) -> bool:
    """Whether `path` is the publisher's archive, or the folder with all of them, byte for byte."""
    if path.is_dir():
        return bool(known.downloads) and all(is_download(each, path / each.file) for each in known.downloads)
    return len(known.downloads) == 1 and is_download(known.downloads[0], path)


def is_download(download: Download, path: Path) -> bool:
    """Whether the file at `path` is the one the publisher serves."""
    if not path.is_file() or (download.size is not None and path.stat().st_size != download.size):
        return False
    return has_checksum(ByteRange(path.name, path, 0, path.stat().st_size), f"md5:{download.md5}")


def has_checksum(file: ByteRange, checksum: str) -> bool:
    """Whether the bytes have this SHA-256, or this MD5 if `checksum` begins with `md5:`."""
    algorithm, _, digits = checksum.rpartition(":")
    return file.digest(algorithm or "sha256") == digits


def describe_use(source: Source, rows: Mapping[PartName, npt.NDArray[np.int64]]) -> Source:
    """The source with a description that says how many of its images the splits use.

    An official source becomes `partial` if not all of its training images are used.

    Args:
        rows: (n,) each split's rows of the source, counted through its parts train, validation, test.
    """
    total, used = sum(map(len, source.parts.values())), sum(map(len, rows.values()))
    if used == total:
        return source
    # parts are counted through in this order, so the training part's rows come first
    training = sum(int((taken < len(source.parts["train"])).sum()) for taken in rows.values())
    fewer = source.provenance == "official" and training < len(source.parts["train"])
    return replace(
        source,
        description=f"{source.description}; {used:,} of its {total:,} images are used",
        provenance="partial" if fewer else source.provenance,
    )


def images_text(parts: Mapping[PartName, Part], of: Mapping[PartName, int] | None = None) -> str:
    """`60,000 training and 10,000 test images`, or `5,085 of 50,000 training and 0 of 10,000 test images`."""
    told = []
    for part, word in PART_WORDS.items():
        has = len(parts.get(part, ()))
        whole = None if of is None else of.get(part)
        if whole is not None and has != whole:
            told.append(f"{has:,} of {whole:,} {word}")
        elif has:
            told.append(f"{has:,} {word}")
    return f"{' and '.join((', '.join(told[:-1]), told[-1]) if told[1:] else told)} images"
