"""report.md: the report for a terminal or a code forge; its figures lie beside it in figures/."""

from __future__ import annotations

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
from ssmlab.report.table import to_markdown


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
            return f"![{markdown_text(alt)}](figures/{name}.png)\n\n*{markdown_text(caption)}*"
        case ClaimVerdict(says, _, sentence, remarks):
            lines = [f"- **{markdown_text(says)}.** {markdown_text(sentence)}"]
            lines += [f"  - {markdown_text(remark)}" for remark in remarks]
            return "\n".join(lines)
        case Folded(title, table):
            return f"**{markdown_text(title)}**\n\n{to_markdown(table, markdown_text)}"
        case _:
            return to_markdown(block, markdown_text)
