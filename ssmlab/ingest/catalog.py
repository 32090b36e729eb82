"""The data sets that ssmlab knows by name, read from catalog.toml: their content, and where to download them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Literal

from pydantic import TypeAdapter

from ssmlab.core.errors import UserError
from ssmlab.core.text import hint, printable
from ssmlab.data.header import PartName

CatalogLayout = Literal["mnist5k", "idx", "cifar", "tiny-imagenet", "npz"]


@dataclass(frozen=True)
class Download:
    """A file as its publisher serves it; size in bytes, where it is known."""

    file: str
    url: str
    md5: str
    size: int | None = None


@dataclass(frozen=True)
class CatalogEntry:
    """A data set that is known by name.

    Attributes:
        name: its name in `data.name`.
        title: its usual name.
        layout: how the publisher arranges the files.
        class_names: in the order of the labels; () if they come from files inside the archive.
        image_shape: (C, H, W).
        counts: labelled images in each part.
        downloads: empty for an embedded data set.
        embedded: whether an installed Python package contains it.
        content: for each file, named without a compression suffix, the SHA-256 of its uncompressed content, or "md5:"
            and the MD5 if the publisher gives only that.
        download_page: the publisher's page for people.
        unnamed_classes: number of classes if `class_names` is ().
    """

    name: str
    title: str
    layout: CatalogLayout
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    counts: Mapping[PartName, int]
    downloads: tuple[Download, ...] = ()
    embedded: bool = False
    content: Mapping[str, str] = field(default_factory=dict)
    download_page: str = ""
    unnamed_classes: int = 0

    @property
    def classes(self) -> int:
        """How many classes it has."""
        return len(self.class_names) or self.unnamed_classes


def read_catalog(text: str) -> dict[str, CatalogEntry]:
    """Parse the catalogue: a TOML table for each data set, under its name."""
    entries = {name: {"name": name, **table} for name, table in tomllib.loads(text).items()}
    return TypeAdapter(dict[str, CatalogEntry]).validate_python(entries)


CATALOG: Mapping[str, CatalogEntry] = read_catalog(
    (resources.files("ssmlab.ingest") / "catalog.toml").read_text("utf-8")
)


def look_up(name: str) -> CatalogEntry:
    """The data set called `name`; raises UserError if there is none."""
    if name not in CATALOG:
        known = hint(name, CATALOG, "data sets")
        raise UserError(f"{printable(name, 80)}: not a data set of the catalogue ({known}); see `ssmlab data list`")
    return CATALOG[name]
