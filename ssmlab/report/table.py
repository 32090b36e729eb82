"""A table of texts, and its forms for other programs: Markdown, CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ssmlab.core.files import to_csv

ABSENT = "-"  # shown in place of a missing number


@dataclass(frozen=True)
class Column:
    """A column's heading.

    Attributes:
        name: the heading.
        group: a common heading above neighbouring columns; columns of one group are never separated.
        left: whether the column is aligned left, as for text; numbers are aligned right.
        beside: whether the column makes sense only beside the column before it; the two are never separated.
    """

    name: str
    group: str = ""
    left: bool = False
    beside: bool = False

    @property
    def title(self) -> str:
        """The heading in one line, with its group."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True)
class TextTable:
    """Rows of texts; every row has one text per column.

    Attributes:
        links: for each row, the file that holds its numbers, relative to the report; empty for no links.
        name: the name of its CSV and LaTeX files in tables/, without their endings; empty for no files.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    links: tuple[str, ...] = ()
    name: str = ""

    @property
    def files(self) -> dict[str, str]:
        """The table's files for other programs: the path relative to the report, by file type."""
        return {kind: f"tables/{self.name}.{kind}" for kind in ("csv", "tex")} if self.name else {}

    def linked_rows(self) -> list[tuple[str, tuple[str, ...]]]:
        """The rows, each with its link; `""` means no link."""
        return list(zip(self.links or [""] * len(self.rows), self.rows, strict=True))

    def column_groups(self) -> list[tuple[str, list[Column]]]:
        """(group, columns) for each sequence of neighbours with the same group; `""` means no group."""
        return [(group, list(columns)) for group, columns in groupby(self.columns, key=lambda column: column.group)]


def to_markdown(table: TextTable, escaped: Callable[[str], str]) -> str:
    """The table in Markdown; the first cell of a row carries its link.

    Args:
        escaped: makes a text safe for Markdown; pipes are escaped here.
    """

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cell(text: str) -> str:
        return " ".join(escaped(text).split()).replace("|", r"\|")

    rule = line(":--" if column.left else "--:" for column in table.columns)
    head = line(cell(column.title) for column in table.columns)
    rows = []
    for link, (first, *others) in table.linked_rows():
        name = f"[{cell(first)}]({link})" if link else cell(first)
        rows.append(line([name, *map(cell, others)]))
    return "\n".join([head, rule, *rows])


def table_csv(table: TextTable) -> str:
    """The table as CSV; missing numbers are empty fields."""
    header = [column.title for column in table.columns]
    return to_csv(header, ([None if cell == ABSENT else cell for cell in row] for row in table.rows))


LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def latex_text(text: str) -> str:
    """`text` for LaTeX, with every special character escaped."""
    return "".join(LATEX_SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def to_latex(table: TextTable) -> str:
    """The table as a `tabular` with rules of the package booktabs; minus signs are in math mode."""

    def cell(text: str) -> str:
        is_negative = text.startswith("-") and text[1:2].isdigit()
        return f"$-${latex_text(text[1:])}" if is_negative else latex_text(text)

    def line(cells: Iterable[str]) -> str:
        return " & ".join(cells) + r" \\"

    head = [line(latex_text(column.name) for column in table.columns)]
    groups = table.column_groups()
    if any(group for group, _ in groups):
        head = [line(latex_group(group, len(columns)) for group, columns in groups), latex_rules(groups), *head]
    sides = "".join("l" if column.left else "r" for column in table.columns)
    rows = [line(map(cell, row)) for row in table.rows]
    parts = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", *head, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]
    return "\n".join(["% needs \\usepackage{booktabs}", *parts]) + "\n"


def latex_group(group: str, count: int) -> str:
    """The heading above `count` columns; empty above columns without a group."""
    return rf"\multicolumn{{{count}}}{{c}}{{{latex_text(group)}}}" if group else " & ".join([""] * count)


def latex_rules(groups: Sequence[tuple[str, Sequence[Column]]]) -> str:
    """A short rule below every heading of a group."""
    rules, first = [], 1
    for group, columns in groups:
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + len(columns) - 1}}}")
        first += len(columns)
    return " ".join(rules)
