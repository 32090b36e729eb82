"""A folder for each class: train/<class>/* and optionally val/<class>/* and test/<class>/*; or <class>/* alone.

Classes are numbered in the order of their names. READMEs and licences next to the folders are ignored. Any other file
that is not an image is an error: it may be a damaged or misnamed image, which nobody would miss.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np

from ssmlab.data.header import PartName
from ssmlab.ingest.archives import Members
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.formats.encoded import SUFFIXES, EncodedImages, check_file_size
from ssmlab.ingest.source import Part

PARTS: dict[str, PartName] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
READMES = ("readme", "license", "licence", "changelog", "citation")

ByClass = dict[str, list[str]]


def detect(members: Members) -> Layout | None:
    """The layout of an image folder; None if no folder contains images.

    Raises:
        UserError: a file is not an image or not in a class, the classes of the parts differ, or there is only one.
    """
    names = [name for name in members.names() if not is_readme(name)]
    if not any(suffix_of(name) in SUFFIXES and "/" in name for name in names):
        return None
    parts = by_part(members, names)
    if "train" not in parts:
        raise members.error(names[0], "there is no train/ beside it")
    check_no_empty_classes(members, has_parts=any(name.startswith("train/") for name in names))
    classes = sorted(parts["train"])
    for part, images in parts.items():
        for name in sorted(set(images) ^ set(classes)):
            where = "training part" if name in images else f"{part} part"
            raise members.error(name, f"is a class without images in the {where}; every part needs every class")
    if len(classes) < 2:
        raise members.error(classes[0], "is the only class; there must be at least two, as folders side by side")
    kinds = {SUFFIXES[suffix_of(image)] for images in parts.values() for each in images.values() for image in each}
    made = {part: make_part(members, images) for part, images in parts.items()}
    return Layout("image-folder", kinds.pop() if len(kinds) == 1 else "mixed", tuple(classes), None, made)


def check_no_empty_classes(members: Members, has_parts: bool) -> None:
    """Raises UserError for an empty class, which would renumber those after it, and for an empty part."""
    for folder in members.empty_folders:
        steps = folder.split("/")
        if has_parts and steps[0] in PARTS and len(steps) == 1:
            raise members.error(folder, "has no images; put class folders into it, or remove it")
        if len(steps) == 1 + has_parts and (not has_parts or steps[0] in PARTS):
            raise members.error(folder, "is a class folder without images; put some into it, or remove it")


def by_part(members: Members, names: list[str]) -> Mapping[PartName, ByClass]:
    """The image files of each part by class; raises UserError for a file that is not an image, or not in a class."""
    has_parts = any(name.startswith("train/") for name in names)
    depth = 3 if has_parts else 2
    folders: dict[PartName, str] = {}
    parts: dict[PartName, ByClass] = {}
    for name in names:
        steps = name.split("/")
        if suffix_of(name) not in SUFFIXES:
            raise members.error(
                name, f"is not of a type that is read ({', '.join(sorted(SUFFIXES))}); convert or remove it"
            )
        part = PARTS.get(steps[0]) if has_parts else "train"
        if part is None or len(steps) != depth:
            raise members.error(name, f"does not lie at {'train/<class>/' if has_parts else '<class>/'}")
        if has_parts and folders.setdefault(part, steps[0]) != steps[0]:
            raise members.error(name, f"is in a second {part} part beside {folders[part]}/")
        parts.setdefault(part, defaultdict(list))[steps[-2]].append(name)
    return parts


def make_part(members: Members, images: ByClass) -> Part:
    """A part with the images class by class, sorted by name."""
    classes = sorted(images)
    labels = [label for label, name in enumerate(classes) for _ in images[name]]
    files = tuple(check_file_size(members, image) for name in classes for image in images[name])
    return Part(np.array(labels, np.int64), EncodedImages(members.origin, files), encoded=True)


def suffix_of(name: str) -> str:
    """A file's suffix in lower case."""
    return PurePosixPath(name).suffix.lower()


def is_readme(name: str) -> bool:
    """Whether a file at the top level describes the data set."""
    return "/" not in name and name.lower().startswith(READMES) and suffix_of(name) not in SUFFIXES
