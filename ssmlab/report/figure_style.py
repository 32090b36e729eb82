"""The common style of all figures: palette, markers, fixed settings, and reproducible files.

A run, or a group of seeds, has one colour and one marker in all figures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ssmlab.core.collector import collector_paused

# The palette of Okabe and Ito, which works with any colour vision; without its yellow, which is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
LEFT_OUT = {"png": ("Software",), "svg": ("Date", "Creator"), "pdf": ("CreationDate", "Creator", "Producer")}
PALE = (0.45, 0.5, 0.55)  # shares of the background colour in less prominent colours
TEXT = 0.25  # share of black or white in the colour of a name
DPI = 200  # about twice the 96 pixels per inch of a web page: sharp on high-resolution screens


def percent_ticks(symbol: str = "%") -> FuncFormatter:
    """Fractions at an axis in percent, with decimals only where a tick needs them: `65%`, `97.5%`."""
    return FuncFormatter(lambda value, _: f"{round(100 * value, 6):g}{symbol}".replace("-", "\N{MINUS SIGN}"))


@dataclass(frozen=True)
class Theme:
    """The look of a figure: all colours except those of the runs, and whether it is for a narrow screen.

    A narrow figure has its panels below each other, so it fits the screen of a phone.
    """

    paper: str
    ink: str
    grey: str
    grid: str
    black: str  # replaces black as the colour of a run
    text_mix: str  # mixed into a run's colour to make text in that colour easier to read
    narrow: bool = False

    @property
    def width(self) -> float:
        """The width in inches: 768 pixels on a page, 384 on a narrow screen."""
        return 4.0 if self.narrow else 8.0

    def run_colour(self, index: int) -> str:
        """The colour of run number `index` of a study; colours repeat after seven runs, markers later."""
        found = PALETTE[index % len(PALETTE)]
        return self.black if found == "#000000" else found

    def pale(self, ink: str, share: float) -> tuple[float, float, float]:
        """A colour mixed with a share of the background colour."""
        return mix_colours(ink, self.paper, share)

    def settings(self) -> dict[Any, Any]:
        """Matplotlib's settings."""
        return {
            "font.family": "DejaVu Sans",
            "font.size": 9.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.facecolor": self.paper,
            "axes.edgecolor": self.grey,
            "axes.labelcolor": self.ink,
            "axes.titlecolor": self.ink,
            "axes.titlesize": 10.0,
            "axes.titlelocation": "left",
            "axes.grid": True,
            "axes.axisbelow": True,
            "figure.facecolor": self.paper,
            "grid.color": self.grid,
            "grid.linewidth": 0.6,
            "pdf.fonttype": 42,  # TrueType fonts, as journals require
            "svg.hashsalt": "ssmlab",  # without it the ids inside an SVG are random
            "text.color": self.ink,
            "xtick.color": self.grey,
            "ytick.color": self.grey,
            "xtick.labelcolor": self.ink,
            "ytick.labelcolor": self.ink,
        }


LIGHT = Theme("#ffffff", "#222222", "#666666", "#dddddd", black="#000000", text_mix="black")
DARK = Theme("#161616", "#dddddd", "#aaaaaa", "#444444", black="#eeeeee", text_mix="white")


def mix_colours(ink: str, other: str, share: float) -> tuple[float, float, float]:
    """The colour `ink` mixed with a share of another colour, as RGB in [0, 1]."""
    r, g, b = ((1 - share) * a + share * c for a, c in zip(to_rgb(ink), to_rgb(other), strict=True))
    return r, g, b


def marker(index: int) -> str:
    """The marker of run number `index` of a study."""
    return MARKERS[index % len(MARKERS)]


def draw_files(draw: Callable[[Theme], Figure]) -> dict[str, bytes]:
    """All files of a figure, by the end of their names.

    PNG, SVG and PDF on white are for report.md and papers. More SVG files are for dark pages, for narrow pages, and for
    pages that are both. A dark figure is the light one with other colours, so it is drawn separately only if replacing
    the colours may fail.
    """
    files = figure_files(draw, LIGHT, ("png", "svg", "pdf"))
    files["-dark.svg"] = darkened(files[".svg"]) or figure_files(draw, DARK, ("svg",))[".svg"]
    narrow, dark = (replace(theme, narrow=True) for theme in (LIGHT, DARK))
    files["-narrow.svg"] = figure_files(draw, narrow, ("svg",))[".svg"]
    files["-narrow-dark.svg"] = darkened(files["-narrow.svg"]) or figure_files(draw, dark, ("svg",))[".svg"]
    return files


def darkened(svg: bytes) -> bytes | None:
    """A light SVG in the colours of the dark theme; None if it contains a picture, or a colour that no theme has."""
    if b"<image" in svg:
        return None
    table = dark_colours()
    try:
        return re.sub(rb"#[0-9a-f]{6}(?![0-9a-z])", lambda found: table[found[0].decode()].encode(), svg)
    except KeyError:
        return None


@cache
def dark_colours() -> dict[str, str]:
    """The dark colour for every colour of a light figure, as hex: the colours of the theme and of the runs."""
    own = {getattr(LIGHT, name): getattr(DARK, name) for name in ("paper", "ink", "grey", "grid")}
    runs = [(LIGHT.run_colour(index).lower(), DARK.run_colour(index).lower()) for index in range(len(PALETTE))]
    inks = [*runs, (LIGHT.grey, DARK.grey)]
    pale = [(LIGHT.pale(a, share), DARK.pale(b, share)) for a, b in inks for share in PALE]
    text = [(mix_colours(a, LIGHT.text_mix, TEXT), mix_colours(b, DARK.text_mix, TEXT)) for a, b in inks]
    return own | dict(runs) | {to_hex(light): to_hex(dark) for light, dark in [*pale, *text]}


@collector_paused()  # which takes a twelfth of the time; what a figure leaves is collected after it
def figure_files(draw: Callable[[Theme], Figure], theme: Theme, formats: Sequence[str]) -> dict[str, bytes]:
    """The figure in each format, by suffix; the user's matplotlibrc has no effect."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(theme.settings())
        figure = draw(theme)
        FigureCanvasAgg(figure)
        figure.set_dpi(DPI)
        lay_out(figure)
        return {f".{name}": figure_bytes(figure, name) for name in formats}


def lay_out(figure: Figure) -> None:
    """Run the slow layout once for all formats; `draw_without_rendering` would do it too, and draw all for nothing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)  # with "none", each file would begin with one more drawing


def figure_bytes(figure: Figure, name: str) -> bytes:
    """The figure in one format, without date and software in the file: equal figures give equal bytes."""
    file = io.BytesIO()
    figure.savefig(file, format=name, dpi=DPI, metadata=dict.fromkeys(LEFT_OUT[name]))
    return file.getvalue()


def two_panels(theme: Theme, sharey: bool = False) -> tuple[Figure, tuple[Axes, Axes]]:
    """A figure with two panels: side by side, or one below the other on a narrow screen."""
    figure = Figure(figsize=(theme.width, 6.4 if theme.narrow else 3.9), layout="constrained")
    grid = figure.subplots(2, 1) if theme.narrow else figure.subplots(1, 2, sharey=sharey)
    return figure, (grid[0], grid[1])


class Mark(NamedTuple):
    """A point of a group, which is given by its index in the study."""

    group: int
    x: float
    y: float


def draw_marks(axes: Axes, marks: Sequence[Mark], area: float, theme: Theme) -> None:
    """Draw small open markers, with the colour and the marker of each group."""
    for place, shape in enumerate(MARKERS):
        chosen = [mark for mark in marks if mark.group % len(MARKERS) == place]
        if chosen:
            axes.scatter(
                [mark.x for mark in chosen],
                [mark.y for mark in chosen],
                area,
                marker=shape,
                facecolors=theme.paper,
                edgecolors=[theme.run_colour(mark.group) for mark in chosen],
                linewidths=0.8,
                zorder=3,
            )
