"""The stage `prepare`: from the source's images to the prepared data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ssmlab.data.scratch import scratch_beside
from ssmlab.data.source import ArrayImages, Part, Source
from ssmlab.data.sources import read_source
from ssmlab.data.splits import split_rows
from ssmlab.data.writer import write_dataset
from ssmlab.events import Listener, Note, silence
from ssmlab.params import DataParams, Params
from ssmlab.pipeline.paths import Paths


def prepare(params: Params, paths: Paths, listen: Listener = silence) -> None:
    """Split the data set of `params.data` and write it to `paths.prepared`; nothing else in `params` is read.

    Interrupted at any time, it leaves the old file or the new one; what it leaves besides when it is killed, the next
    one removes.

    Raises:
        UserError: the source is missing or damaged, the splits do not fit it, or the file cannot be written.
    """
    wanted = params.data
    with scratch_beside(paths.prepared) as scratch, opened_source(wanted, scratch, listen) as source:
        rows = split_rows(
            {name: part.labels for name, part in source.parts.items()},
            train=wanted.train,
            validation=wanted.validation,
            test=wanted.test,
            seed=wanted.seed,
        )
        about = write_dataset(paths.prepared, source, rows, wanted.seed, scratch, listen=listen)
    if about.name != wanted.name:
        listen(
            Note(f"data.name is {wanted.name}, but this is {about.provenance}: its numbers are those of {about.name}")
        )
    counts = ", ".join(f"{len(part)} {name}" for name, part in rows.items())
    listen(Note(f"{paths.prepared}: {about.provenance}, {counts} images, fingerprint {about.fingerprint[:12]}"))


@contextmanager
def opened_source(wanted: DataParams, scratch: Path, listen: Listener) -> Iterator[Source]:
    """The embedded source as what every source will be."""
    read = read_source(wanted.name)
    part = Part(read.labels, ArrayImages(read.images))
    digits = tuple(map(str, range(read.classes)))
    yield Source(wanted.name, read.description, "official", digits, (1, 28, 28), {"train": part})
