"""Running text in which backticks mark code, made safe for Markdown and for HTML."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

SPECIAL = re.compile(r"[\\*_\[\]<>#&~!]")  # what Markdown or HTML could act on inside a line
LINE_START = re.compile(r"^([-+=]|\d+(?=[.)]))")  # what would begin a list or underline a heading


@cache
def inline_markdown() -> MarkdownIt:
    """A parser that recognises only code: the preset "zero" has no markup at all and escapes all HTML."""
    from markdown_it import MarkdownIt  # tables in a terminal come by here and need no HTML

    return MarkdownIt("zero").enable("backticks")


def markdown_text(text: str) -> str:
    """`text` for Markdown inside a line: code stays as it is, everything else is shown letter by letter."""
    parts = (f"`{part}`" if is_code else SPECIAL.sub(r"\\\g<0>", part) for part, is_code in split_code(text))
    return "".join(parts)


def markdown_line(text: str) -> str:
    """`text` for Markdown at the start of a line, on one line."""
    line = markdown_text(" ".join(text.split()))
    return LINE_START.sub(escape_first, line)


def escape_first(found: re.Match[str]) -> str:
    """Escapes what would begin a list: `-` becomes `\\-`; a number gets a backslash before its dot."""
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def html_text(text: str) -> Markup:
    """`text` for HTML: code becomes a `code` element, everything else is escaped."""
    return Markup(inline_markdown().renderInline(text))  # nosec B704 # the renderer escapes all but `code`


def split_code(text: str) -> list[tuple[str, bool]]:
    """The parts of a text with whether each stands between backticks; an odd backtick is only text."""
    parts = re.split(r"`([^`\n]+)`", text)
    return [(part, place % 2 == 1) for place, part in enumerate(parts)]
