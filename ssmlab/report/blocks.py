"""What a report is made of. Both of its forms are written from these blocks, so that they cannot disagree."""

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
    """Running text; what stands in backticks is code."""

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
        name: of its files in figures/, without what is added to it.
        files: their bytes by what is added to the name (`ssmlab.report.figure_style.draw_files`).
        alt: what it shows in words.
    """

    name: str
    files: Mapping[str, bytes]
    alt: str
    caption: str

    @property
    def links(self) -> dict[str, str]:
        """Its files for papers, relative to the report, by what they are."""
        return {ending[1:]: f"figures/{self.name}{ending}" for ending in (".svg", ".pdf") if ending in self.files}


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim and what the numbers say to it; `remarks` are sentences to be read with the verdict."""

    says: str
    verdict: str
    sentence: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """A table that few readers need: folded behind its title in HTML."""

    title: str
    table: TextTable


Block = Heading | Paragraph | Caution | Bullets | Commands | Picture | ClaimVerdict | Folded | TextTable


@dataclass(frozen=True)
class Report:
    """A title and what stands below it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The report's figures."""
        return tuple(block for block in self.blocks if isinstance(block, Picture))

    @property
    def tables(self) -> tuple[TextTable, ...]:
        """The report's tables that have files, folded ones too."""
        found = (block.table if isinstance(block, Folded) else block for block in self.blocks)
        return tuple(table for table in found if isinstance(table, TextTable) and table.name)
