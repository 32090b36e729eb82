"""The stage `prepare`: from the source's images to the prepared data set."""

from __future__ import annotations

import torch

from ssmlab.data.prepared import Split, make_dataset, save_dataset
from ssmlab.data.source import ArrayImages, Part, Source
from ssmlab.data.sources import read_source
from ssmlab.data.splits import Rows, split_rows
from ssmlab.events import Listener, Note, silence
from ssmlab.params import Params
from ssmlab.pipeline.paths import Paths


def prepare(params: Params, paths: Paths, listen: Listener = silence) -> None:
    """Split the data set of `params.data` and write it to `paths.prepared`; nothing else in `params` is read.

    Interrupted at any time, it leaves the old file or the new one.

    Raises:
        UserError: the source is missing or damaged, the splits do not fit it, or the file cannot be written.
    """
    wanted = params.data
    source = open_source(wanted.name)
    rows = split_rows(
        {name: part.labels for name, part in source.parts.items()},
        train=wanted.train,
        validation=wanted.validation,
        test=wanted.test,
        seed=wanted.seed,
    )
    dataset = make_dataset(
        source.name,
        len(source.class_names),
        {name: taken(source.parts["train"], part) for name, part in rows.items()},
        class_names=source.class_names,
        source=source.description,
        provenance=source.provenance,
        seed=wanted.seed,
    )
    save_dataset(paths.prepared, dataset)
    counts = ", ".join(f"{len(part)} {name}" for name, part in rows.items())
    listen(Note(f"{paths.prepared}: {counts} images, fingerprint {dataset.fingerprint[:12]}"))


def open_source(name: str) -> Source:
    """The embedded source as what every source will be."""
    read = read_source(name)
    part = Part(read.labels, ArrayImages(read.images))
    digits = tuple(map(str, range(read.classes)))
    return Source(name, read.description, "official", digits, (1, 28, 28), {"train": part})


def taken(part: Part, rows: Rows) -> Split:
    """The part's images at `rows` (N,), in that order."""
    return Split(
        images=torch.from_numpy(part.images.read(rows)),
        labels=torch.from_numpy(part.labels[rows]),
        indices=torch.from_numpy(rows),
    )
