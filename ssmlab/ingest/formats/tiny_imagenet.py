"""Tiny-ImageNet-200's folders (Stanford CS231n): a wnid for each class, labelled images in train/ and val/.

The official test images have no labels, so the official validation part is our test part. The classes are the wnids in
wnids.txt that have training images, in the order of that file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from ssmlab.data.header import PartName
from ssmlab.ingest.archives import Members
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.formats.encoded import EncodedImages, check_file_size
from ssmlab.ingest.source import Part

IMAGE_SHAPE = (3, 64, 64)  # some of its files are grey, and are read as RGB
ANNOTATIONS = "val/val_annotations.txt"


def detect(members: Members) -> Layout | None:
    """Tiny-ImageNet's layout, whole or with fewer classes; None if there is no wnids.txt.

    Raises:
        UserError: a class or an annotation is unknown, an image has no annotation, or a class lacks images.
    """
    wnids = members.text("wnids.txt")
    if wnids is None:
        return None
    wnids = [wnid.strip() for wnid in wnids]
    if len(set(wnids)) != len(wnids):
        raise members.error("wnids.txt", "names a class twice")
    names = members.names()
    train = images_by_class(members, names, "train", wnids)
    test = read_annotations(members, names, wnids) or images_by_class(members, names, "val", wnids)
    present = [wnid for wnid in wnids if wnid in train]
    if not present:
        raise members.error("wnids.txt", "none of its classes has images at train/<wnid>/images/")
    for wnid in test:
        if wnid not in train:
            raise members.error(f"val/: {wnid}", "is a class without training images")
    parts: dict[PartName, Part] = {"train": make_part(members, present, train)}
    if test:
        parts["test"] = make_part(members, present, test)
    return Layout("tiny-imagenet", "jpeg", class_names(members, present), IMAGE_SHAPE, parts)


def images_by_class(members: Members, names: Sequence[str], part: str, wnids: Sequence[str]) -> Mapping[str, list[str]]:
    """The images at PART/<wnid>/images/ or PART/<wnid>/, by wnid; raises UserError for an unknown wnid."""
    known = set(wnids)
    images: dict[str, list[str]] = defaultdict(list)
    for name in names:
        path = PurePosixPath(name)
        folders = path.parts[:-1]
        if folders[:1] == (part,) and path.suffix == ".JPEG" and folders[2:] in ((), ("images",)) and len(folders) > 1:
            if folders[1] not in known:
                raise members.error(name, "is of a class that wnids.txt does not name")
            images[folders[1]].append(name)
    return images


def read_annotations(members: Members, names: Sequence[str], wnids: Sequence[str]) -> Mapping[str, list[str]]:
    """The images at val/images/, by the wnid that val_annotations.txt gives; empty if there are none."""
    folder = "val/images/"
    images = [name for name in names if name.startswith(folder) and name.endswith(".JPEG")]
    if not images:
        return {}
    known = set(wnids)
    lines = members.text(ANNOTATIONS)
    if lines is None:
        raise members.error(ANNOTATIONS, "is missing: the images in val/images/ have no labels")
    wnid_of = {}
    for line in lines:
        image, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if wnid not in known:
            raise members.error(ANNOTATIONS, f"gives {image} the class {wnid!r}, which wnids.txt does not name")
        wnid_of[folder + image] = wnid
    by_class: dict[str, list[str]] = defaultdict(list)
    for name in images:
        if name not in wnid_of:
            raise members.error(name, f"has no label in {ANNOTATIONS}")
        by_class[wnid_of[name]].append(name)
    return by_class


def make_part(members: Members, classes: Sequence[str], images: Mapping[str, Sequence[str]]) -> Part:
    """A part with the images class by class, sorted by name."""
    labels = [label for label, name in enumerate(classes) for _ in images.get(name, ())]
    files = tuple(check_file_size(members, image) for name in classes for image in images.get(name, ()))
    return Part(np.array(labels, np.int64), EncodedImages(members.origin, files, IMAGE_SHAPE), encoded=True)


def class_names(members: Members, wnids: Sequence[str]) -> tuple[str, ...]:
    """The first word of each class in words.txt; the wnid if there is none, both if classes share the word."""
    words = dict(line.partition("\t")[::2] for line in members.text("words.txt") or ())
    first = [words.get(wnid, wnid).split(",")[0].strip() or wnid for wnid in wnids]
    return tuple(
        name if first.count(name) == 1 else f"{name} ({wnid})" for name, wnid in zip(first, wnids, strict=True)
    )
