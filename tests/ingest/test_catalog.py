"""The catalogue: consistent in itself, and right about the real files in ../shared."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ssmlab.core.errors import UserError
from ssmlab.ingest.catalog import CATALOG, CatalogEntry, look_up
from ssmlab.params import DataParams

every = pytest.mark.parametrize("known", CATALOG.values(), ids=CATALOG)


def test_the_catalogue_has_every_promised_data_set() -> None:
    assert {"mnist5k", "mnist", "fashion-mnist", "cifar10", "cifar100", "tiny-imagenet"} <= set(CATALOG)
    medmnist = {name for name, known in CATALOG.items() if known.layout == "npz"}
    assert len(medmnist) == 11 and {"pathmnist", "bloodmnist", "organamnist"} < medmnist


@every
def test_each_entry_agrees_with_itself(known: CatalogEntry) -> None:
    assert CATALOG[known.name] is known
    DataParams(name=known.name, source="auto", train="all", validation=1, test="all", seed=0)
    assert known.classes >= 2
    assert len(set(known.class_names)) == len(known.class_names)
    channels, height, width = known.image_shape
    assert channels in (1, 3) and height == width
    assert known.counts["train"] > 0 and set(known.counts) <= {"train", "validation", "test"}
    assert known.embedded == (not known.downloads)
    for content in known.content.values():
        assert re.fullmatch(r"[0-9a-f]{64}|md5:[0-9a-f]{32}", content)


@every
def test_every_download_is_a_web_address(known: CatalogEntry) -> None:
    assert len({each.file for each in known.downloads}) == len(known.downloads)
    for each in known.downloads:
        address = urlsplit(each.url)
        assert address.scheme in ("http", "https") and address.hostname
        assert Path(address.path).name == each.file
        assert re.fullmatch(r"[0-9a-f]{32}", each.md5)
        assert each.size is None or each.size > 0
    assert len({each.md5 for each in known.downloads}) == len(known.downloads)


def test_the_readme_of_the_shared_data_says_the_same(shared: Path) -> None:
    readme = (shared / "data" / "README.md").read_text()
    for name in ("mnist", "cifar10", "tiny-imagenet"):
        for each in CATALOG[name].downloads:
            assert each.md5 in readme
            assert urlsplit(each.url).hostname in readme
            assert name == "mnist" or f"{each.size:,} bytes" in readme


def test_the_checksums_of_mnist_are_those_of_the_real_files(shared: Path) -> None:
    known = CATALOG["mnist"]
    for each in known.downloads:
        packed = (shared / "data" / "mnist" / each.file).read_bytes()
        content = gzip.decompress(packed)
        assert hashlib.sha256(content).hexdigest() == known.content[Path(each.file).stem]
        if "train-images" not in each.file:  # that one was packed again
            assert hashlib.md5(packed).hexdigest() == each.md5
            assert len(packed) == each.size


def test_an_unknown_name_lists_the_known() -> None:
    assert look_up("cifar10").title == "CIFAR-10"
    with pytest.raises(UserError, match=r"cifar11: .*cifar10.*ssmlab data list"):
        look_up("cifar11")
