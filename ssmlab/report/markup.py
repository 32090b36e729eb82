"""Running text with `code` in it, made safe for Markdown and for HTML."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape

SPECIAL = re.compile(r"([\\*_\[\]<>#])")


def markdown_text(text: str) -> str:
    """`text` for Markdown: what stands in backticks stays as it is, all else is only text."""
    return marked(text, lambda plain: SPECIAL.sub(r"\\\1", plain), lambda code: f"`{code}`")


def html_text(text: str) -> str:
    """`text` for HTML: what stands in backticks becomes a code element, all else is only text."""
    return marked(text, escape, lambda code: f"<code>{escape(code)}</code>")


def marked(text: str, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    """Apply `plain` and `code` to the parts of a text outside and inside backticks; an odd backtick is only text."""
    parts = re.split(r"`([^`\n]+)`", text)
    return "".join(code(part) if i % 2 else plain(part) for i, part in enumerate(parts))
