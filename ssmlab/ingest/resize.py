"""Readers that change what another reader gives: fewer images, another size, other channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssmlab.ingest.source import ImageReader


@dataclass(frozen=True, eq=False)
class Subset:
    """Some of the images, in any order.

    Attributes:
        images: reads all images.
        rows: (N,) int64, the rows to take from it.
    """

    images: ImageReader
    rows: npt.NDArray[np.int64]

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` (n,) of the subset: (n, C, H, W) uint8."""
        return self.images.read(self.rows[rows])


@dataclass(frozen=True, eq=False)
class Resized:
    """Images that are resized when they are read.

    Attributes:
        images: reads images of any one shape.
        image_shape: (C, H, W) of the images that `read` returns.
    """

    images: ImageReader
    image_shape: tuple[int, int, int]

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` (n,): (n, C, H, W) uint8."""
        fits = np.empty((len(rows), *self.image_shape), np.uint8)
        for target, image in zip(fits, self.images.read(rows), strict=True):
            plain = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))  # (H, W) or (H, W, 3)
            target[...] = image_to_array(fit_image(plain, self.image_shape))
        return fits


def fit_image(image: Image.Image, image_shape: tuple[int, int, int]) -> Image.Image:
    """A grey or RGB image (mode L or RGB) with the shape (C, H, W).

    RGB becomes grey by the weights of ITU-R 601-2. If the size differs, the largest centred square is cut out and
    scaled by bilinear interpolation with antialiasing.
    """
    channels, height, width = image_shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size == (width, height):
        return image
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def image_to_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """A grey or RGB image as (C, H, W) uint8."""
    pixels = np.asarray(image, np.uint8)  # (H, W) or (H, W, 3)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # (C, H, W)
