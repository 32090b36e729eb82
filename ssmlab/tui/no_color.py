"""Repairs Textual's filter for NO_COLOR, which fails on segments without a style (textual-plot's empty lines)."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter, Monochrome


class TolerantMonochrome(Monochrome):
    """Textual's filter with shades of grey, which also accepts segments without a style."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The segments in shades of grey; segments without a style do not change."""
        found: list[Segment] = []
        for segment in segments:
            found += [segment] if segment.style is None else super().apply([segment], background)
        return found


def tolerant(filters: Sequence[LineFilter]) -> list[LineFilter]:
    """The filters of an app, with the repaired filter in place of Textual's."""
    return [TolerantMonochrome() if type(each) is Monochrome else each for each in filters]
