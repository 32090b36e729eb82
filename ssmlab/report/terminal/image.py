"""Images in a terminal: a cell shows two pixels, the upper one as text colour and the lower one as background."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.cells import set_cell_size
from rich.color import Color
from rich.style import Style
from rich.text import Text

from ssmlab.report.terminal.contact_sheet import ClassRow, ContactSheet, shortened

MOST_CLASSES = 20
LONGEST_NAME = 20  # cells
READABLE = 14  # pixels; the least width of an image that can still be recognised


def terminal_sheet(sheet: ContactSheet, width: int) -> Iterator[Text]:
    """The sheet in lines of at most `width` cells; a narrow terminal shows fewer images instead of smaller ones."""
    shown = sheet.rows[:MOST_CLASSES]
    margin = min(max(len(row.name) for row in shown), LONGEST_NAME, width // 3) + 1
    side = sheet.summary.image_shape[2]
    count = max(1, min(max(len(row.images) for row in shown), (width - margin) // (min(side, READABLE) + 1)))
    cells = max(1, min(side, (width - margin) // count - 1))
    for row in shown:
        yield from class_lines(row, margin, count, cells)
    if len(sheet.rows) > len(shown):
        yield Text(f"and {sheet.summary.description.classes - len(shown)} more classes")


def class_lines(row: ClassRow, margin: int, count: int, cells: int) -> Iterator[Text]:
    """One class: its name in `margin` cells, then its first `count` images, each `cells` wide."""
    _, height, width, _ = row.images.shape
    size = (cells, max(1, round(height * cells / width)))
    pictures = [
        list(terminal_image(np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))))
        for image in row.images[:count]
    ]
    for place in range(-(-size[1] // 2)):
        name = shortened(row.name, margin - 1) if place == 0 else ""
        yield Text(" ").join([Text(set_cell_size(name, margin - 1)), *(lines[place] for lines in pictures)])


def terminal_image(image: npt.NDArray[np.uint8]) -> Iterator[Text]:
    """The lines of an image (H, W, 3); a line shows two rows of pixels."""
    for top in range(0, len(image), 2):
        line = Text()
        for x in range(image.shape[1]):
            below = Color.from_rgb(*image[top + 1, x]) if top + 1 < len(image) else None
            line.append("▀", Style(color=Color.from_rgb(*image[top, x]), bgcolor=below))
        yield line
