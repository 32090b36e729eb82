"""A heat map of shares, with numbers in the cells if there is room."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.image import AxesImage

from ssmlab.report.figure_style import PALETTE, Theme

Grid = Sequence[Sequence[float | None]]
DARK_CELL = 0.55  # at this share or above, a cell is so dark that its number is written in white


def draw_heat_map(axes: Axes, grid: Grid, theme: Theme, *, written: bool) -> AxesImage:
    """Draw rows of shares in [0, 1], from the background colour for 0 to blue for 1; None is left empty.

    Args:
        written: whether each cell shows its value in percent.
    """
    colours = LinearSegmentedColormap.from_list("shares", [theme.paper, PALETTE[0]])
    values = [[nan if share is None else share for share in row] for row in grid]
    image = axes.imshow(values, cmap=colours, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for y, row in enumerate(grid if written else ()):
        for x, share in enumerate(row):
            if share is not None:
                ink = "#ffffff" if share >= DARK_CELL else theme.ink
                axes.text(x, y, f"{100 * share:.0f}", ha="center", va="center_baseline", color=ink, fontsize=7.5)
    return image
