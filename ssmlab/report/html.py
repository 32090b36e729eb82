"""report.html: the report as one page that needs nothing else: no script, no font, no picture from anywhere."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from ssmlab.report.blocks import Block, Bullets, Commands, Folded, Heading, Paragraph, Picture, Report, Verdict, Warning
from ssmlab.report.grid import to_html
from ssmlab.report.markup import html_text

CSS = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --paper: #fff; --line: #ddd; --shade: #f6f6f6;
  --good: #00704f; --bad: #b34700; --open: #666; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ddd; --soft: #aaa; --paper: #161616; --line: #444; --shade: #222;
    --good: #35c795; --bad: #ff8c42; --open: #aaa; } }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
p, li { max-width: 45rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { vertical-align: bottom; } th[scope=row], .left { text-align: left; }
th.group { text-align: center; } tbody th { font-weight: 600; }
td.left { white-space: normal; min-width: 6rem; }
figure { margin: 1.5rem 0; } figcaption { color: var(--soft); font-size: .875rem; max-width: 45rem; }
img { display: block; width: 100%; max-width: 50rem; height: auto; background: #fff; border-radius: .25rem; }
.warning { border-left: .3rem solid var(--bad); padding: .5rem 1rem; background: var(--shade); }
.claim { border-left: .3rem solid var(--open); padding: 0 1rem; margin: 1rem 0; }
.claim p { margin: .3rem 0; } .says { font-weight: 600; } .confound { color: var(--soft); }
.supported { border-color: var(--good); } .contradicted { border-color: var(--bad); }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; padding: .75rem 1rem; background: var(--shade); }
"""


def write_html(report: Report) -> str:
    """The report as a whole HTML document."""
    title = html_text(report.title)
    body = "\n".join(map(block_html, report.blocks))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{CSS}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def block_html(block: Block) -> str:
    """One block as HTML."""
    match block:
        case Heading(text):
            return f"<h2>{html_text(text)}</h2>"
        case Paragraph(text):
            return f"<p>{html_text(text)}</p>"
        case Warning(text):
            return f'<p class="warning" role="note"><strong>Warning.</strong> {html_text(text)}</p>'
        case Bullets(items):
            return "<ul>\n" + "\n".join(f"<li>{html_text(item)}</li>" for item in items) + "\n</ul>"
        case Commands(text):
            return f"<pre><code>{escape(text)}</code></pre>"
        case Picture(_, png, alt, caption):
            source = f"data:image/png;base64,{b64encode(png).decode()}"
            image = f'<img src="{source}" alt="{escape(alt)}">'
            return f"<figure>\n{image}\n<figcaption>{html_text(caption)}</figcaption>\n</figure>"
        case Verdict():
            return verdict_html(block)
        case Folded(title, grid):
            return f"<details>\n<summary>{html_text(title)}</summary>\n{to_html(grid)}\n</details>"
        case _:
            return to_html(block)


def verdict_html(block: Verdict) -> str:
    """A claim, with its verdict as the colour of its edge and, for everyone, as its sentence's first word."""
    confounds = "".join(f'\n<p class="confound">Confound: {html_text(confound)}.</p>' for confound in block.confounds)
    return (
        f'<section class="claim {escape(block.verdict.replace(" ", "-"))}">\n'
        f'<p class="says">{html_text(block.says)}.</p>\n<p>{html_text(block.sentence)}</p>{confounds}\n</section>'
    )
