"""Tables of data sets for a terminal: the data sets of the catalogue, and the prepared ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ssmlab.data.header import SPLITS, DataSummary
from ssmlab.ingest.catalog import CatalogEntry
from ssmlab.report.table import ABSENT, Column, TextTable
from ssmlab.report.terminal.fitted_table import FittedTable, to_rich

MB = 1_000_000  # bytes


def known_table(states: Iterable[tuple[CatalogEntry, str]], titles: bool) -> FittedTable:
    """The data sets of the catalogue, each with its state; without titles, the table fits into 80 columns."""
    names = [Column("name", left=True), Column("title", left=True)]
    columns = (*names[: 1 + titles], *map(Column, ("classes", "image", "images", "MB")), Column("here", left=True))
    rows = []
    for known, state in states:
        name = (known.name, known.title)[: 1 + titles]
        counts = [known.counts[part] for part in SPLITS if part in known.counts]
        numbers = (f"{known.classes}", shape_text(known.image_shape), counts_text(counts), download_text(known))
        rows.append((*name, *numbers, state))
    caption = "Known data sets (images: training + validation (if any) + test; MB: size of the download)"
    return to_rich(TextTable(columns, tuple(rows), caption), state_style)


def prepared_table(found: Iterable[tuple[Path, DataSummary]]) -> FittedTable:
    """Prepared data sets: the data set behind each, the sizes of its splits, and the start of its fingerprint."""
    columns = (
        *(Column(name, left=True) for name in ("name", "data set", "provenance")),
        *map(Column, ("images", "MB")),
        Column("fingerprint", left=True),
    )
    rows = []
    for path, summary in found:
        description, counts = summary.description, counts_text([summary.train, summary.validation, summary.test])
        megabytes = f"{path.stat().st_size / MB:.1f}"
        rows.append(
            (path.stem, description.name, description.provenance, counts, megabytes, description.fingerprint[:12])
        )
    return to_rich(TextTable(columns, tuple(rows), "Prepared data sets (images: training + validation + test)"))


def state_style(text: str) -> str:
    """Green for data sets that can be used without a download."""
    return "green" if text in ("embedded", "fetched") else ""


def shape_text(shape: tuple[int, int, int]) -> str:
    """(C, H, W) as `3x32x32`."""
    return "x".join(map(str, shape))


def counts_text(counts: Iterable[int]) -> str:
    """`4800+100+100`, with thousands separated."""
    return "+".join(f"{count:,}" for count in counts)


def download_text(known: CatalogEntry) -> str:
    """The size of the download in MB; `?` if the publisher does not state it."""
    if not known.downloads:
        return ABSENT
    sizes = [each.size for each in known.downloads]
    return "?" if None in sizes else f"{sum(filter(None, sizes)) / MB:.0f}"
