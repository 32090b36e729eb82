"""The blocks of a report. The Markdown and the HTML form are written from the same blocks, so they cannot differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssmlab.report.table import TextTable


@dataclass(frozen=True)
class Heading:
    """The title of a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text; text in backticks is code."""

    text: str


@dataclass(frozen=True)
class Caution:
    """A warning that a reader must not miss."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: the common start of its file names in figures/.
        files: the content of each file by the end of its name (`ssmlab.report.figure_style.draw_files`).
        alt: a description of what it shows, for readers who cannot see it.
        caption: the text below the figure.
    """

    name: str
    files: Mapping[str, bytes]
    alt: str
    caption: str

    @property
    def links(self) -> dict[str, str]:
        """Its files for papers: the path relative to the report, by file type."""
        return {ending[1:]: f"figures/{self.name}{ending}" for ending in (".svg", ".pdf") if ending in self.files}


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim with its verdict; `remarks` are sentences that belong to the verdict."""

    says: str
    verdict: str
    sentence: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """A table that few readers need: HTML shows only its title until a reader opens it."""

    title: str
    table: TextTable


Block = Heading | Paragraph | Caution | Bullets | Commands | Picture | ClaimVerdict | Folded | TextTable


@dataclass(frozen=True)
class Report:
    """A title and the blocks below it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The report's figures."""
        return tuple(block for block in self.blocks if isinstance(block, Picture))

    @property
    def tables(self) -> tuple[TextTable, ...]:
        """The report's tables that are also written to files, including folded ones."""
        found = (block.table if isinstance(block, Folded) else block for block in self.blocks)
        return tuple(table for table in found if isinstance(table, TextTable) and table.name)
