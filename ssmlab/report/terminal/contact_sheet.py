"""A few images of every class of a prepared data set, to check what a network is trained on."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ssmlab.data.header import DataSummary, open_prepared, read_data_summary

PER_CLASS = 10
MOST_CLASSES = 200  # the whole picture is held in memory
SIDE = 56  # pixels; images are enlarged until their longer side has at least this size
GAP = 2  # pixels
FONT_SIZE = 14
LONGEST_NAME = 28  # characters


@dataclass(frozen=True, eq=False)
class ClassRow:
    """A class's name, and its first training images: (n, H, W, 3) uint8."""

    name: str
    images: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ContactSheet:
    """The first training images of the first MOST_CLASSES classes."""

    summary: DataSummary
    rows: tuple[ClassRow, ...]


def read_contact_sheet(path: Path) -> ContactSheet:
    """Read the first images of every class of a prepared data set; no other pixels are read.

    Raises:
        UserError: the file is missing or is not a complete prepared data set.
    """
    summary = read_data_summary(path)
    with open_prepared(path, "np") as file:
        names, channels = summary.description.class_names, summary.image_shape[0]
        if channels not in (1, 3):
            raise ValueError(f"images with {channels} channels are neither grey nor RGB")
        labels, images = file.get_tensor("train.labels"), file.get_slice("train.images")
        rows = []
        for label, name in enumerate(names[:MOST_CLASSES]):
            found = np.flatnonzero(labels == label)[:PER_CLASS].tolist()
            taken = [images[row : row + 1] for row in found] or [images[:0]]
            rows.append(ClassRow(name, rgb(np.concatenate(taken))))
    return ContactSheet(summary, tuple(rows))


def rgb(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(n, C, H, W) with 1 or 3 channels as (n, H, W, 3)."""
    n, _, height, width = images.shape
    return np.broadcast_to(images.transpose(0, 2, 3, 1), (n, height, width, 3))


def contact_sheet_png(sheet: ContactSheet) -> bytes:
    """The sheet as a PNG picture: one row per class with its name on the left; images are enlarged without blurring."""
    _, height, width = sheet.summary.image_shape
    factor = -(-SIDE // max(height, width))
    font = ImageFont.load_default(FONT_SIZE)
    names = [shortened(row.name, LONGEST_NAME) for row in sheet.rows]
    margin = 2 * GAP + int(max(map(font.getlength, names)) + 1)
    step_x, step_y = width * factor + GAP, max(height * factor, FONT_SIZE + GAP) + GAP
    sheet_image = Image.new("RGB", (margin + PER_CLASS * step_x, len(names) * step_y + GAP), "white")
    draw = ImageDraw.Draw(sheet_image)
    for place, (name, row) in enumerate(zip(names, sheet.rows, strict=True)):
        y = GAP + place * step_y
        draw.text((GAP, y), name, fill="black", font=font)
        for column, image in enumerate(row.images):
            enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)  # (H * factor, W * factor, 3)
            sheet_image.paste(Image.fromarray(enlarged), (margin + column * step_x, y))
    file = io.BytesIO()
    sheet_image.save(file, format="PNG")
    return file.getvalue()


def shortened(name: str, longest: int) -> str:
    """A name of at most `longest` characters."""
    return name if len(name) <= longest else name[: longest - 3].rstrip() + "..."
