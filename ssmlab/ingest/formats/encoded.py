"""Images that are files of their own: what their headers say, and decoding them with Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ContainerIO import ContainerIO

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener
from ssmlab.core.progress import ProgressMeter
from ssmlab.ingest.archives import Members
from ssmlab.ingest.resize import fit_image, image_to_array
from ssmlab.ingest.unpack import MIB, ByteRange, printable

SUFFIXES = {  # and what the name of a re-encoded data set ends in
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
MAX_FILE_BYTES = 256 * MIB
GREY = ("1", "L", "LA")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Image files, decoded when they are read; of a GIF or TIFF the first frame. Transparency is dropped,
    and a rotation that a camera only noted (EXIF) is not done.

    Attributes:
        origin: the folder or archive they come from.
        files: one an image.
        image_shape: (C, H, W) of what `read` gives.
        square: cut every image to a square and scale it; otherwise each has to have that size.
    """

    origin: Path
    files: tuple[ByteRange, ...]
    image_shape: tuple[int, int, int] = (3, 0, 0)
    square: bool = False

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The images at `rows` (n,): (n, C, H, W) uint8; raises UserError that names the file that is damaged."""
        images = np.empty((len(rows), *self.image_shape), np.uint8)
        for target, row in zip(images, rows, strict=True):
            target[...] = self.decode(self.files[row])
        return images

    def decode(self, file: ByteRange) -> npt.NDArray[np.uint8]:
        """One image, (C, H, W)."""
        content = file.read()
        _, height, width = self.image_shape
        try:
            with Image.open(io.BytesIO(content), formats=CODECS) as image:
                check_mode(image)
                if not self.square and image.size != (width, height):
                    raise size_error(self.origin, file, image.size, (width, height))
                return image_to_array(fit_image(image, self.image_shape))
        except UserError:
            raise
        except Exception as error:  # Pillow's decoders raise all sorts of things over damaged bytes
            raise decode_error(self.origin, file, error) from None

    def subset(self, rows: npt.NDArray[np.int64]) -> EncodedImages:
        """The images at `rows` alone."""
        return EncodedImages(self.origin, tuple(self.files[row] for row in rows), self.image_shape, self.square)


def check_file_size(members: Members, name: str) -> ByteRange:
    """Where an image file lies; raises UserError if it is empty, or too large to be one."""
    file = members.files[name]
    if not 0 < file.length <= MAX_FILE_BYTES:
        raise members.error(name, f"has {file.length:,} bytes, which no image has; mend or remove it")
    return file


def read_header(origin: Path, file: ByteRange) -> tuple[bool, tuple[int, int]]:
    """Whether an image is grey, and its (width, height), from its header alone; raises UserError if it has none."""
    try:
        with file.path.open("rb") as opened:
            window = ContainerIO(opened, file.offset, file.length)
            with Image.open(window, formats=CODECS) as image:
                check_mode(image)
                return image.mode in GREY, image.size
    except Exception as error:  # Pillow's readers raise all sorts of things over damaged bytes
        raise decode_error(origin, file, error) from None


def common_shape(
    all_images: Sequence[EncodedImages], size: int | None, channels: int | None, listen: Listener
) -> tuple[int, int, int]:
    """The (C, H, W) that all images have or are to get.

    Args:
        size: they will be scaled to it, so that theirs may differ.
        channels: they will have as many; None: 1 if all are grey, else 3.

    Raises:
        UserError: one is damaged, or has another size than the first where they are not scaled.
    """
    if size is not None and channels is not None:
        return channels, size, size
    meter = ProgressMeter(sum(len(images.files) for images in all_images), from_first_step=True)
    first: tuple[int, int] | None = None
    grey = True
    for images in all_images:
        for file in images.files:
            is_grey, found = read_header(images.origin, file)
            first = first or found
            if size is None and found != first:
                raise size_error(images.origin, file, found, first)
            grey = grey and is_grey
            meter.advance()
            meter.report(listen, "reading headers (images)")
    assert first is not None
    width, height = first if size is None else (size, size)
    return channels or (1 if grey else 3), height, width


def check_mode(image: Image.Image) -> None:
    """Refuse what does not fit into 8 bits a channel, and would be clipped; raises ValueError."""
    if image.mode not in GREY + COLOUR:
        raise ValueError(f"it has pixels of the kind {image.mode}, not 8 bits a channel")


def size_error(origin: Path, file: ByteRange, found: tuple[int, int], wanted: tuple[int, int]) -> UserError:
    """An image that is not as large as the others."""
    return UserError(
        f"{origin}: {printable(file.name)}: is {found[0]} x {found[1]} pixels, the others are {wanted[0]} x {wanted[1]}"
        "; set data.size to cut and scale them all"
    )


def decode_error(origin: Path, file: ByteRange, error: Exception) -> UserError:
    """An image that Pillow cannot read."""
    reason = " ".join(str(error).split())
    if "cannot identify image file" in reason:
        reason = "no image that can be read"
    return UserError(f"{origin}: {printable(file.name)}: damaged ({printable(reason)}); mend or remove it")
