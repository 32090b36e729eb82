"""Images in separate image files: reading their headers, and decoding them with Pillow."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ContainerIO import ContainerIO
from PIL.ImageFile import ImageFile

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener
from ssmlab.core.progress import ProgressMeter
from ssmlab.ingest.archives import Members
from ssmlab.ingest.picture import UnshownPicture, as_shown, check_header, is_grey, upright_size
from ssmlab.ingest.png_file import check_png
from ssmlab.ingest.resize import fit_image, image_to_array
from ssmlab.ingest.unpack import MIB, ByteRange, printable_name, read_error

SUFFIXES = {  # file suffix: suffix for the name of a re-encoded data set
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".bmp": "bmp",
    ".gif": "gif",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".ppm": "ppm",
    ".pgm": "ppm",
}
CODECS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # Pillow's other readers are never tried
# Pillow logs some kinds of damage; without a handler Python would print the messages
logging.getLogger("PIL").addHandler(logging.NullHandler())
MAX_FILE_BYTES = 64 * MIB


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Image files, decoded when they are read, each as a viewer shows it (`ssmlab.ingest.picture`).

    Attributes:
        origin: the folder or archive they come from.
        files: one per image.
        image_shape: (C, H, W) of the images that `read` returns.
        square: cut every image to a square and scale it; if False, each image must already have the right size.
    """

    origin: Path
    files: tuple[ByteRange, ...]
    image_shape: tuple[int, int, int] = (3, 0, 0)
    square: bool = False

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` (n,): (n, C, H, W) uint8; raises UserError with the name of a damaged file."""
        images = np.empty((len(rows), *self.image_shape), np.uint8)
        for target, row in zip(images, rows, strict=True):
            target[...] = self.decode(self.files[row])
        return images

    def decode(self, file: ByteRange) -> npt.NDArray[np.uint8]:
        """One image, (C, H, W)."""
        _, height, width = self.image_shape
        content = file.read()
        with open_image(self.origin, file, io.BytesIO(content)) as image:
            if image.format == "PNG":
                check_png(content)
            # libtiff prints damage to stderr from C; the errors that Pillow raises already say it
            with silenced_stderr() if image.format == "TIFF" else nullcontext():
                shown = as_shown(image)
            if not self.square and shown.size != (width, height):
                raise size_error(self.origin, file, shown.size, (width, height))
            return image_to_array(fit_image(shown, self.image_shape))

    def subset(self, rows: npt.NDArray[np.int64]) -> EncodedImages:
        """Only the images at `rows`."""
        return EncodedImages(self.origin, tuple(self.files[row] for row in rows), self.image_shape, self.square)


@contextmanager
def open_image(origin: Path, file: ByteRange, content: IO[bytes]) -> Iterator[ImageFile]:
    """An image file opened with Pillow, its header checked; any error inside the block names the file.

    Pillow's warnings are silenced: every case that it warns about is either refused here or handled correctly.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(content, formats=CODECS) as image:
            check_header(image)
            yield image
    except UserError:
        raise
    except UnshownPicture as problem:
        raise UserError(f"{origin}: {printable_name(file.name)}: {problem}") from None
    except Exception as error:  # Pillow's decoders raise many kinds of errors for damaged bytes
        raise decode_error(origin, file, error) from None


@contextmanager
def silenced_stderr() -> Iterator[None]:
    """Inside the block, everything written to file descriptor 2 is discarded, also by C libraries."""
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def check_file_size(members: Members, name: str) -> ByteRange:
    """The bytes of an image file; raises UserError if it is empty, or too large for an image."""
    file = members.files[name]
    if not 0 < file.length <= MAX_FILE_BYTES:
        raise members.error(
            name, f"has {file.length:,} bytes, but an image file has 1 to {MAX_FILE_BYTES:,}; fix or remove it"
        )
    return file


def read_header(origin: Path, file: ByteRange) -> tuple[bool, tuple[int, int]]:
    """Whether an image is grey, and its (width, height), from its header; raises UserError if that is damaged."""
    try:
        with (
            file.path.open("rb") as opened,
            open_image(origin, file, ContainerIO(opened, file.offset, file.length)) as image,
        ):
            return is_grey(image), upright_size(image)
    except OSError as error:
        raise read_error(file.path, error) from None


def common_shape(
    all_images: Sequence[EncodedImages], size: int | None, channels: int | None, listen: Listener
) -> tuple[int, int, int]:
    """The (C, H, W) that all images have, or will have after scaling.

    Args:
        size: side to scale all images to; None if they must already have equal sizes.
        channels: wanted number of channels; None means 1 if all images are grey, else 3.

    Raises:
        UserError: an image is damaged, or differs in size from the first although `size` is None.
    """
    if size is not None and channels is not None:
        return channels, size, size
    meter = ProgressMeter(sum(len(images.files) for images in all_images), from_first_step=True)
    first: tuple[int, int] | None = None
    grey = True
    for images in all_images:
        for file in images.files:
            grey_too, found = read_header(images.origin, file)
            first = first or found
            if size is None and found != first:
                raise size_error(images.origin, file, found, first)
            grey = grey and grey_too
            meter.advance()
            meter.report(listen, "reading headers (images)")
    assert first is not None
    width, height = first if size is None else (size, size)
    return channels or (1 if grey else 3), height, width


def size_error(origin: Path, file: ByteRange, found: tuple[int, int], wanted: tuple[int, int]) -> UserError:
    """The error for an image that differs in size from the others."""
    sizes = f"is {found[0]} x {found[1]} pixels, the others are {wanted[0]} x {wanted[1]}"
    return UserError(f"{origin}: {printable_name(file.name)}: {sizes}; set data.size to cut and scale them all")


def decode_error(origin: Path, file: ByteRange, error: Exception) -> UserError:
    """The error for an image that Pillow cannot read."""
    reason = printable_name(str(error)) or type(error).__name__
    if "cannot identify image file" in reason:
        reason = "not an image that can be read"
    return UserError(f"{origin}: {printable_name(file.name)}: damaged ({reason}); fix or remove it")
