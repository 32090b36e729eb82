"""Documents link to files of the repository, as `../README.md` or a test; on the site those links become plain text."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with the text of every page: links that leave the folder of documents lose their target."""
    up = "../" * (page.file.src_uri.count("/") + 1)
    return re.sub(rf"\[([^\]]+)\]\({re.escape(up)}(?!\.\./)[^)]*\)", r"\1", markdown)
