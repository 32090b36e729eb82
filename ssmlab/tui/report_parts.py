"""A Markdown report as its texts and its tables.

Textual gives every column of a Markdown table the same priority, so it cuts numbers in a narrow terminal. Our own
tables never cut numbers (report/terminal/fitted_table.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ssmlab.report.table import Column, TextTable


def report_parts(text: str) -> Iterator[str | TextTable]:
    """The parts of a Markdown text in their order: Markdown without tables, and tables."""
    lines = text.splitlines(keepends=True)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    done = 0
    for at, token in enumerate(tokens):
        if token.type == "table_open" and token.level == 0 and token.map is not None:
            first, end = token.map
            if before := "".join(lines[done:first]).strip():
                yield before
            yield parsed_table(tokens[at : closing(tokens, at)])
            done = end
    if rest := "".join(lines[done:]).strip():
        yield rest


def closing(tokens: Sequence[Token], start: int) -> int:
    """The position of the token that closes the table that begins at `start`."""
    return next(at for at in range(start, len(tokens)) if tokens[at].type == "table_close")


def parsed_table(tokens: Sequence[Token]) -> TextTable:
    """The table of these tokens, without the marks of Markdown in its cells."""
    columns: list[Column] = []
    rows: list[list[str]] = []
    for token, content in pairwise(tokens):
        if token.type == "th_open":
            columns.append(Column(plain_text(content), left="right" not in str(token.attrGet("style"))))
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "td_open":
            rows[-1].append(plain_text(content))
    return TextTable(tuple(columns), tuple(tuple(row) for row in rows if row))


def plain_text(inline: Token) -> str:
    """The text of a cell, without markup."""
    return "".join(part.content for part in inline.children or () if part.content)
