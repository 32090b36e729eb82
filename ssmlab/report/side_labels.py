"""Names beside a plot, in a column, moved apart so that they do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from ssmlab.report.figure_style import TEXT, Theme, mix_colours

ONE_LINE, TWO_LINES = 0.06, 0.1  # distances between names of so many lines, as shares of a plot's height


def named_points(heights: Sequence[float], distance: float) -> list[int]:
    """Which points a column of names has room for, with `distance` (a share of its height) between two names.

    If there is no room for all, these are the highest, the lowest, and some between them at equal steps of rank.
    """
    most, of = int(1 / distance) + 1, len(heights)
    if of <= most:
        return list(range(of))
    ranked = sorted(range(of), key=lambda i: heights[i])
    return [ranked[round(i * (of - 1) / (most - 1))] for i in range(most)]


def spaced_positions(wanted: Sequence[float], distance: float, lowest: float, highest: float) -> list[float]:
    """Move positions apart: at least `distance` between neighbours, in the same order.

    The positions stay in [lowest, highest] if they fit. Neighbours that are too close form a block, centred on the mean
    of their wanted positions, as in isotonic regression.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[list[int]] = []
    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and overlap(blocks[-2], blocks[-1], wanted, distance):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    places = [0.0] * len(wanted)
    for block in blocks:
        for rank, i in enumerate(block):
            places[i] = block_start(block, wanted, distance) + rank * distance
    for rank, i in enumerate(order):
        places[i] = max(places[i], lowest + rank * distance)
    for rank, i in enumerate(reversed(order)):
        places[i] = min(places[i], highest - rank * distance)
    return places


def overlap(above: list[int], below: list[int], wanted: Sequence[float], distance: float) -> bool:
    """Whether two neighbouring blocks are less than `distance` apart."""
    return block_start(below, wanted, distance) < block_end(above, wanted, distance) + distance


def block_start(block: list[int], wanted: Sequence[float], distance: float) -> float:
    """The position of a block's first member; the block is centred on the mean of the wanted positions."""
    return sum(wanted[i] for i in block) / len(block) - (len(block) - 1) * distance / 2


def block_end(block: list[int], wanted: Sequence[float], distance: float) -> float:
    """The position of a block's last member."""
    return block_start(block, wanted, distance) + (len(block) - 1) * distance


def label_beside(axes: Axes, points: Sequence[tuple[str, float, float, str]], distance: float, theme: Theme) -> None:
    """Write names in a column to the right of the plot, moved apart and joined to their points by thin lines.

    If there is no room for all names (`named_points`), a line below the column says how many of how many are named. The
    limits of the axes must be final.

    Args:
        points: (text, x, y, colour) of each name.
        distance: the least distance between two names, as a share of the plot's height.
    """
    low, high = axes.get_ylim()
    named = named_points([y for _, _, y, _ in points], distance)
    if len(named) < len(points):
        told = f"{len(named)} of {len(points)} named"
        axes.text(1.05, -0.06, told, color=theme.grey, va="top", transform=axes.transAxes)
        points = [points[i] for i in named]
    places = spaced_positions([y for _, _, y, _ in points], distance * (high - low), low, high)
    for (text, _, _, ink), place in zip(points, places, strict=True):
        colour = mix_colours(ink, theme.text_mix, TEXT)
        axes.text(1.05, place, text, color=colour, va="center", transform=axes.get_yaxis_transform(), zorder=1)
    # arrows of annotations would also work, but each takes as much time as a panel
    ends = axes.transLimits.transform(axes.transScale.transform([(x, y) for _, x, y, _ in points]))  # (points, 2)
    starts = [(1.045, (place - low) / (high - low)) for place in places]
    lines = LineCollection(
        list(zip(starts, ends, strict=True)),
        colors=theme.grey,
        linewidths=0.6,
        linestyles=":",
        transform=axes.transAxes,
        clip_on=False,
        zorder=1,
    )
    lines.set_in_layout(False)
    axes.add_collection(lines, autolim=False)
