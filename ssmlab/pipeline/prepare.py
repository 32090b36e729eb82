"""The stage `prepare`: from the source's images to the prepared data set."""

from __future__ import annotations

import torch

from ssmlab.data.prepared import Split, make_dataset, save_dataset
from ssmlab.data.sources import Source, read_source
from ssmlab.data.splits import Rows, stratified_split
from ssmlab.errors import UserError
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
    source = read_source(wanted.name)
    if wanted.test == "all":
        raise UserError(f"data.test: {wanted.name} has no test part of its own; name a number of images")
    rows = stratified_split(source.labels, validation=wanted.validation, test=wanted.test, seed=wanted.seed)
    dataset = make_dataset(
        wanted.name,
        source.classes,
        {name: taken(source, part) for name, part in rows.items()},
        source=source.description,
        seed=wanted.seed,
    )
    save_dataset(paths.prepared, dataset)
    counts = ", ".join(f"{len(part)} {name}" for name, part in rows.items())
    listen(Note(f"{paths.prepared}: {counts} images, fingerprint {dataset.fingerprint[:12]}"))


def taken(source: Source, rows: Rows) -> Split:
    """The source's images at `rows` (N,), in that order."""
    return Split(
        images=torch.from_numpy(source.images[rows]),
        labels=torch.from_numpy(source.labels[rows]),
        indices=torch.from_numpy(rows),
    )
