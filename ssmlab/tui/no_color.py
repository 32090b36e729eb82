"""NO_COLOR: Textual's filter, which fails on segments without a style, such as textual-plot's empty lines."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter, Monochrome


class TolerantMonochrome(Monochrome):
    """Textual's grey shades, for segments without a style too."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments in shades of grey; those without a style as they are."""
        found: list[Segment] = []
        for segment in segments:
            found += [segment] if segment.style is None else super().apply([segment], background)
        return found


def tolerant(filters: Sequence[LineFilter]) -> list[LineFilter]:
    """The filters of an app, with the tolerant one in place of Textual's."""
    return [TolerantMonochrome() if type(each) is Monochrome else each for each in filters]
