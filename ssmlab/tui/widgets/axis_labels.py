"""The labels of the axes of a plot: which values have labels, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual_plot import AxisFormatter, NumericAxisFormatter

from ssmlab.tui import labels

FEWEST_TICKS = 3  # on a log axis; one or two labels do not show its scale


class PercentFormatter(NumericAxisFormatter):
    """Labels from 0 to 100; two labels never fall on one row of a low plot.

    Attributes:
        rows: rows of the plot.
    """

    rows = 20

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:  # noqa: ARG002 - its signature
        """Every 20 percent, or every 50 if there are few rows."""
        step = 20 if self.rows > 8 else 50
        return [float(tick) for tick in range(0, 101, step) if min_ <= tick <= max_]


class LogFormatter(AxisFormatter):
    """Labels of a log axis, whose coordinates are log10 of the values.

    Attributes:
        rows: rows of the plot.
    """

    rows = 20

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Powers of ten, with 2 and 5 times these if there is room; over less than that, evenly spaced values."""
        most = max(2, min(max_ticks, self.rows // 2))
        low, high = math.floor(min_), math.ceil(max_)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            ticks = [power + math.log10(digit) for power in range(low, high + 1) for digit in digits]
            ticks = [tick for tick in ticks if min_ <= tick <= max_]
            if len(ticks) < FEWEST_TICKS and digits == (1, 2, 5):
                even = NumericAxisFormatter().get_ticks(10**min_, 10**max_, most)
                exact = {short_number(value): math.log10(value) for value in even if value > 0 and is_exact(value)}
                return [tick for tick in exact.values() if min_ <= tick <= max_] or ticks
            if len(ticks) <= most:
                return ticks
        return ticks[:: -(-len(ticks) // most)]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """The values themselves."""
        return [short_number(10**tick) for tick in ticks]


def short_number(value: float) -> str:
    """A number in at most 5 characters, which fit next to a plot: `0.05`, `2.302`, `2e-4`."""
    text = f"{value:.4g}".replace("e-0", "e-")
    return text if len(text) <= 5 else f"{value:.0e}".replace("e-0", "e-")


def is_exact(value: float) -> bool:
    """Whether `short_number` is the number itself."""
    return math.isclose(float(short_number(value)), value, rel_tol=1e-6)


class CountFormatter(NumericAxisFormatter):
    """Labels of an axis in epochs or steps, which are whole numbers."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        return [tick for tick in super().get_ticks(min_, max_, max_ticks) if float(tick).is_integer()]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [f"{tick:.0f}" for tick in ticks]


class TimeFormatter(NumericAxisFormatter):
    """Labels of an axis in seconds."""

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [labels.short_duration(max(0.0, tick)) for tick in ticks]
