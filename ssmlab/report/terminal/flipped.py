"""A flipped test image as three pictures: clean, magnified perturbation, adversarial."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.text import Text

from ssmlab.report.terminal.image import terminal_image

Raster = npt.NDArray[np.uint8]
GAP = 2  # cells between pictures


def flipped_pictures(clean: npt.NDArray[np.float32], adversarial: npt.NDArray[np.float32], eps: float) -> list[Raster]:
    """Pictures (H, W, 3) of the clean image, the perturbation and the adversarial image, given as (C, H, W) in [0, 1].

    In the picture of the perturbation, grey is 0, black is -eps and white is +eps.
    """
    delta = 0.5 + (adversarial - clean) / (2 * eps) if eps > 0 else np.full_like(clean, 0.5)
    return [as_picture(image) for image in (clean, delta, adversarial)]


def magnification(eps: float) -> float:
    """The factor by which the perturbation is magnified: eps is drawn as half of the pixel range."""
    return 0.5 / eps if eps > 0 else 1.0


def as_picture(image: npt.NDArray[np.floating]) -> Raster:
    """An image (C, H, W) in [0, 1] as (H, W, 3) uint8; if it is neither grey nor RGB, the mean of its channels."""
    pixels = np.rint(255 * np.clip(image, 0.0, 1.0)).astype(np.uint8)  # (C, H, W)
    if len(pixels) != 3:
        grey = pixels if len(pixels) == 1 else pixels.mean(axis=0, keepdims=True).astype(np.uint8)
        pixels = np.repeat(grey, 3, axis=0)  # (3, H, W)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))  # (H, W, 3)


def fitted(picture: Raster, width: int, height: int) -> Raster:
    """Fit a picture into `width` x `height` pixels: enlarged by a whole factor, or reduced by averaging."""
    h, w, _ = picture.shape
    scale = min(width / w, height / h)
    if scale >= 1:
        times = int(scale)
        return picture.repeat(times, axis=0).repeat(times, axis=1)
    size = (max(1, int(w * scale)), max(1, int(h * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def pictures_in_a_row(pictures: Sequence[Raster], width: int) -> Iterator[Text]:
    """Pictures of equal size side by side, in lines of at most `width` cells; a cell shows two pixels."""
    each = (width - GAP * (len(pictures) - 1)) // len(pictures)
    columns = [list(terminal_image(fitted(picture, max(1, each), 2 * each))) for picture in pictures]
    for lines in zip(*columns, strict=True):
        yield Text(" " * GAP).join(lines)
