"""Escapes running text, in which backticks mark code, for Markdown and for HTML."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

SPECIAL = re.compile(r"[\\*_\[\]<>#&~!]")  # characters with a meaning in Markdown or HTML inside a line
LINE_START = re.compile(r"^([-+=]|\d+(?=[.)]))")  # would start a list or underline a heading


@cache
def inline_markdown() -> MarkdownIt:
    """A parser that recognises only code: the preset "zero" has no markup and escapes all HTML."""
    from markdown_it import MarkdownIt  # imported here: tables in a terminal use this module but need no HTML

    return MarkdownIt("zero").enable("backticks")


def markdown_text(text: str) -> str:
    """`text` for Markdown inside a line: code is unchanged, special characters elsewhere are escaped."""
    parts = (f"`{part}`" if is_code else SPECIAL.sub(r"\\\g<0>", part) for part, is_code in split_code(text))
    return "".join(parts)


def markdown_line(text: str) -> str:
    """`text` for Markdown at the start of a line; line breaks become spaces."""
    line = markdown_text(" ".join(text.split()))
    return LINE_START.sub(escape_first, line)


def escape_first(found: re.Match[str]) -> str:
    """Escape the start of a list: `-` becomes `\\-`; a number gets a backslash before its dot."""
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def html_text(text: str) -> Markup:
    """`text` for HTML: code becomes a `code` element, everything else is escaped."""
    return Markup(inline_markdown().renderInline(text))  # nosec B704 # the renderer escapes all but `code`


def split_code(text: str) -> list[tuple[str, bool]]:
    """The parts of a text, each with whether it is between backticks; a backtick without a partner is plain text."""
    parts = re.split(r"`([^`\n]+)`", text)
    return [(part, place % 2 == 1) for place, part in enumerate(parts)]
