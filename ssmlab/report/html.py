"""report.html: the report as one self-contained page, without scripts and without external fonts or pictures."""

from __future__ import annotations

from base64 import b64encode
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from ssmlab.report.blocks import Report
from ssmlab.report.markup import html_text


def write_html(report: Report) -> str:
    """The report as a complete HTML document; the template escapes every text that is not marked as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"inline": html_text, "base64": base64_text}
    template = files("ssmlab.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    blocks = [(type(block).__name__, block) for block in report.blocks]
    return environment.from_string(template).render(report=report, blocks=blocks) + "\n"


def base64_text(content: bytes) -> str:
    """Bytes as base64 text, for a data URL."""
    return b64encode(content).decode()
