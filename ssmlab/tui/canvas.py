"""Lines drawn with Braille characters: each cell of the terminal is 2 x 4 dots.

A cell has one colour but may hold dots of several lines; none of them hides another, the last one gives the colour.
Rules lie below all lines: a cell that a line touches shows no rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rich.style import StyleType

BLANK = 0x2800
# Unicode's order of the dots: rows from the top, left and right.
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

Point = tuple[float, float]


@dataclass
class Canvas:
    """`width` x `height` cells; points are in [0, 1] x [0, 1], from the lower left to the upper right dot."""

    width: int
    height: int
    lines: dict[tuple[int, int], tuple[int, StyleType]] = field(default_factory=dict)
    rules: dict[tuple[int, int], tuple[int, StyleType]] = field(default_factory=dict)

    def line(self, points: Sequence[Point], style: StyleType) -> None:
        """Join the points; a single one is a single dot."""
        dots = [self.dot(point) for point in points]
        for x, y in dots[:1]:
            set_dot(self.lines, x, y, style)
        for (x0, y0), (x1, y1) in pairwise(dots):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for i in range(steps + 1):
                set_dot(self.lines, round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps), style)

    def rule(self, y: float, style: StyleType, every: int = 4) -> None:
        """A dotted horizontal line at height `y`, a dot in `every` columns."""
        _, row = self.dot((0.0, y))
        for x in range(0, 2 * self.width, every):
            set_dot(self.rules, x, row, style)

    def dot(self, point: Point) -> tuple[int, int]:
        """The dot at a point: column from the left, row from the top."""
        x, y = (min(max(value, 0.0), 1.0) for value in point)
        return round(x * (2 * self.width - 1)), round((1 - y) * (4 * self.height - 1))

    def row(self, y: int) -> Iterator[tuple[str, StyleType]]:
        """The characters of a line of cells with their styles."""
        for x in range(self.width):
            bits, style = self.lines.get((x, y)) or self.rules.get((x, y)) or (0, "")
            yield (chr(BLANK + bits) if bits else " "), style


def set_dot(cells: dict[tuple[int, int], tuple[int, StyleType]], x: int, y: int, style: StyleType) -> None:
    """Add one dot to its cell."""
    bits, _ = cells.get((x // 2, y // 4), (0, ""))
    cells[x // 2, y // 4] = bits | BITS[y % 4][x % 2], style
