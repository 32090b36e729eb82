"""No text of params or files acts as Markdown or HTML: it is shown letter by letter; only backticks mark code."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

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
from ssmlab.report.html import write_html
from ssmlab.report.markdown import write_markdown
from ssmlab.report.markup import html_text, markdown_line
from ssmlab.report.table import Column, TextTable, latex_text, to_latex, to_markdown

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])  # an independent reader of what we write
TEXTS = st.text(alphabet="ab1. -+=*_<>&;#|~![](){}\\/:\"'\n", min_size=1, max_size=14)
HOSTILE = '<script>alert(1)</script> <img src=x onerror="y"> ](javascript:a) **b** </td></table> {{ 7 * 7 }} {% x %}'


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("- item")
@example("1. item")
@example("&lt;b&gt;")
@example("~~struck~~")
def test_a_reader_of_markdown_gets_back_every_letter(text: str) -> None:
    shown = " ".join(text.split())
    html = READER.render(markdown_line(text))
    assert unescape(re.sub(r"</?p>", "", html)).strip() == shown
    assert html == (f"<p>{html[3:-5]}</p>\n" if shown else "")


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_a_reader_of_html_gets_back_every_letter(text: str) -> None:
    html = html_text(text)
    assert "<" not in html
    assert unescape(html) == text


def test_backticks_mark_code_in_both_forms() -> None:
    assert html_text("a<b `c<d` e`") == "a&lt;b <code>c&lt;d</code> e`"
    assert markdown_line("a_b `c_d` e*") == r"a\_b `c_d` e\*"


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def report_of(text: str) -> Report:
    """A report in which every text that can come from a file is `text`."""
    table = TextTable(
        (Column(text, left=True), Column(text, text), Column("n", text)), ((text, text, text),), text, name="a"
    )
    blocks: tuple[Block, ...] = (
        Heading(text),
        Paragraph(text),
        Caution(text),
        Bullets((text, text)),
        Commands(text),
        Picture("a", dict.fromkeys((".svg", "-dark.svg", "-narrow.svg", "-narrow-dark.svg"), b""), text, text),
        ClaimVerdict(text, "supported", text, (text,)),
        Folded(text, table),
        table,
    )
    return Report(text, blocks)


def test_no_text_of_a_report_adds_or_changes_an_element_of_the_page() -> None:
    assert Tags(write_html(report_of(HOSTILE))).found == Tags(write_html(report_of("text"))).found


def test_no_text_of_a_report_adds_an_element_to_the_markdown() -> None:
    def tags(text: str) -> list[str]:
        return re.findall(r"<[^>]*>", READER.render(write_markdown(report_of(text))))

    hostile = [re.sub(r'alt="[^"]*"', 'alt="text"', tag) for tag in tags(HOSTILE)]
    assert hostile == tags("text")


def test_a_table_in_markdown_keeps_its_columns_whatever_its_texts_are() -> None:
    table = TextTable((Column("a|b", left=True), Column("n", group="<g>")), (("x|y\nz", "*1*"),))
    assert to_markdown(table, markdown_line).splitlines() == [
        r"| a\|b | \<g\> n |",
        "| :-- | --: |",
        r"| x\|y z | \*1\* |",
    ]


def test_a_table_in_latex_has_rules_groups_and_signs() -> None:
    columns = (Column("run", left=True), Column("best", "clean"), Column("diff", "clean"))
    assert to_latex(TextTable(columns, (("a_b", "81.3 ± 0.9", "-1.2"),))) == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        " & \\multicolumn{2}{c}{clean} \\\\\n"
        "\\cmidrule(lr){2-3}\n"
        "run & best & diff \\\\\n"
        "\\midrule\n"
        "a\\_b & 81.3 $\\pm$ 0.9 & $-$1.2 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )


@pytest.mark.parametrize("letter", list("\\{}$&#_%~^"))
def test_no_letter_of_a_text_is_a_command_of_latex(letter: str) -> None:
    assert latex_text(f"a{letter}b") not in (f"a{letter}b", letter)
    assert re.fullmatch(r"a(\\[&%$#_{}]|\\text[a-z]+\{\})b", latex_text(f"a{letter}b"))
