"""report.md: the report for a terminal or a git hosting site; its figures are in the folder figures/ beside it."""

from __future__ import annotations

from collections.abc import Mapping

from ssmlab.report.blocks import (
    Block,
    Bullets,
    Caution,
    ClaimVerdict,
    Commands,
    Folded,
    Heading,
    Paragraph,
    Picture,
    Report,
)
from ssmlab.report.markup import markdown_line, markdown_text
from ssmlab.report.table import TextTable, to_markdown


def write_markdown(report: Report) -> str:
    """The report as Markdown with tables."""
    return "\n\n".join([f"# {markdown_text(report.title)}", *map(block_text, report.blocks)]) + "\n"


def block_text(block: Block) -> str:
    """One block as Markdown."""
    match block:
        case Heading(text):
            return f"## {markdown_text(text)}"
        case Paragraph(text):
            return markdown_line(text)
        case Caution(text):
            return f"> **Warning.** {markdown_text(text)}"
        case Bullets(items):
            return "\n".join(f"- {markdown_line(item)}" for item in items)
        case Commands(text):
            return f"```sh\n{text}\n```"
        case Picture(name, _, alt, caption):
            also = f"\n\n{file_links(block.links)}" if block.links else ""
            return f"![{markdown_text(alt)}](figures/{name}.png)\n\n*{markdown_text(caption)}*{also}"
        case ClaimVerdict(says, _, sentence, remarks):
            lines = [f"- **{markdown_text(says)}.** {markdown_text(sentence)}"]
            lines += [f"  - {markdown_text(remark)}" for remark in remarks]
            return "\n".join(lines)
        case Folded(title, table):
            return f"**{markdown_text(title)}**\n\n{table_text(table)}"
        case _:
            return table_text(block)


def table_text(table: TextTable) -> str:
    """A table, with links to its files below it."""
    links = f"\n\n{file_links(table.files)}" if table.files else ""
    return to_markdown(table, markdown_text) + links


def file_links(files: Mapping[str, str]) -> str:
    """`[CSV](tables/results.csv) [TEX](tables/results.tex)`."""
    return " ".join(f"[{kind.upper()}]({path})" for kind, path in files.items())
