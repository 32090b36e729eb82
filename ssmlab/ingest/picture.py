"""Image files as a viewer shows them, in grey or RGB; a file that could be shown in different ways is refused.

docs/data.md has a table of all cases; tests/ingest/test_picture.py has a test for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile

GREY = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
MAX_PIXELS = 25_000_000  # 5,000 x 5,000: decoding, turning and flattening then take at most 300 MB
WHITE = (255, 255, 255)

ORIENTATION = 0x0112  # the EXIF and TIFF tag: how a camera was held
PHOTOMETRIC = 262  # the TIFF tag: what the channels mean
YCBCR = 6  # one of its values
SAMPLE_FORMAT = 339  # the TIFF tag: 1 is unsigned
COLOUR_MAP = 320  # the TIFF tag: a palette of 16 bits per channel
INK_SET = 332  # the TIFF tag: 1 is CMYK
BLACK_AND_WHITE = 532  # the TIFF tag: which values of YCbCr are black and white
WHOLE_RANGE = (0, 255, 128, 255, 128, 255)
BITS = 258  # the TIFF tag: of each channel
PLANES = 284  # the TIFF tag: 2 is each channel by itself
STRETCHED = {"L;2": 85, "L;4": 17}  # grey PNG with 2 and 4 bits: the factor by which Pillow multiplies the pixels
TRANSPOSITIONS = {  # of the tag's values; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION_NOTES = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # of `Image.info`
SIDEWAYS = (5, 6, 7, 8)  # width and height change places


class UnshownPicture(ValueError):
    """An undamaged image file that may look different in a viewer than to us; the message says why."""


def check_header(image: ImageFile) -> None:
    """Refuse images of the wrong kind by their header, before any pixel is decoded.

    Raises:
        UnshownPicture: it has more than 8 bits per channel, several frames or pages, or too many pixels, or it asks for
            a way to show its pixels that is not supported here.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnshownPicture(f"has {width:,} x {height:,} pixels, at most {MAX_PIXELS:,} are decoded; scale it down")
    if image.mode not in GREY + COLOUR:
        raise UnshownPicture(f"has pixels of the kind {image.mode}, not 8 bits a channel; save it as 8-bit grey or RGB")
    if image.format == "TIFF":
        check_tiff_tags(image, image.tag_v2)  # type: ignore[attr-defined]
    if image.format == "GIF" and "transparency" not in image.info and image.tile[0].extents != (0, 0, width, height):
        raise UnshownPicture("has a frame that covers only a part of it; save it again, as PNG")
    if image.format == "PNG" and has_deep_transparent_colour(image):
        raise UnshownPicture("has a transparent colour of 16 bits a channel; save it with 8 bits, or with alpha")
    # an MPO is a photo followed by a preview or a second view; viewers show the photo
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise UnshownPicture("has several frames or pages; keep one of them, as a file of its own")


def check_tiff_tags(image: ImageFile, tags: Mapping[int, Any]) -> None:
    """Refuse TIFF images whose tags Pillow does not follow; its own decoder also leaves missing strips black.

    Raises:
        UnshownPicture: the pixels are signed, are inks, or have a range of their own; the palette has 8 bits; or this
            Pillow is too old for uncompressed YCbCr.
        ValueError: strips are missing.
    """
    if any(kind != 1 for kind in tags.get(SAMPLE_FORMAT, (1,))):
        raise UnshownPicture("has signed pixels; save it as 8-bit grey or RGB")
    if tags.get(INK_SET, 1) != 1:
        raise UnshownPicture("has inks that are not CMYK; save it as 8-bit grey or RGB")
    raw = all(piece.codec_name == "raw" for piece in image.tile)  # libtiff checks its own
    raw_ycbcr = raw and tags.get(PHOTOMETRIC) == YCBCR
    black_and_white = tuple(map(round, tags.get(BLACK_AND_WHITE, WHOLE_RANGE)))
    if (image.mode == "YCbCr" or raw_ycbcr) and black_and_white != WHOLE_RANGE:
        raise UnshownPicture("has black and white at values of its own; save it as 8-bit grey or RGB")
    if image.mode == "P" and 0 < max(tags[COLOUR_MAP]) < 256:
        raise UnshownPicture("has a palette of 8 bits a channel where TIFF has 16; save it as RGB")
    if raw_ycbcr and image.mode != "YCbCr":  # it takes them for RGB with a fourth channel
        raise UnshownPicture("has uncompressed YCbCr, which Pillow reads wrongly before version 13; update Pillow")
    if raw:
        check_raw_pieces(image, separate=tags.get(PLANES, 1) == 2, bits=max(tags.get(BITS, (1,))))


def check_raw_pieces(image: ImageFile, *, separate: bool, bits: int) -> None:
    """Refuse an uncompressed TIFF image whose strips or tiles Pillow reads wrongly.

    Raises:
        UnshownPicture: its channels are separate, with more than 8 bits each.
        ValueError: strips or tiles are missing.
    """
    if separate and bits > 8:
        raise UnshownPicture("has separate channels of more than 8 bits; save it as 8-bit grey or RGB")
    boxes = [piece.extents for piece in image.tile if piece.extents is not None]
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    if covered < image.width * image.height * (len(image.getbands()) if separate else 1):
        raise ValueError("strips of pixels are missing")


def has_deep_transparent_colour(image: ImageFile) -> bool:
    """Whether a PNG has a transparent colour of 16 bits, which is wrong after Pillow has reduced the pixels to 8."""
    return "transparency" in image.info and bool(image.tile) and "16" in str(image.tile[0].args)


def is_grey(image: Image.Image) -> bool:
    """Whether the picture has one channel."""
    return image.mode in GREY


def upright_size(image: Image.Image) -> tuple[int, int]:
    """The (width, height) of the picture as it is shown, computed from the header alone."""
    if image.format == "TIFF":  # Pillow already turns TIFF images upright
        return image.size
    width, height = image.size
    return (height, width) if orientation_of(image) in SIDEWAYS else (width, height)


def as_shown(image: ImageFile) -> Image.Image:
    """The picture upright, on white where it is transparent, in mode L or RGB.

    Raises:
        UnshownPicture: the image is transparent or white everywhere.
        Exception: any error that Pillow raises for damaged bytes.
    """
    if image.format == "PNG" and "transparency" in image.info and image.tile:
        image.info["transparency"] *= STRETCHED.get(str(image.tile[0].args), 1)  # Pillow stretches the pixels only
    image.load()
    orientation = orientation_of(image)
    mode = "L" if is_grey(image) else "RGB"
    shown = flatten(image, mode) if image.has_transparency_data else image.convert(mode)
    return shown.transpose(TRANSPOSITIONS[orientation]) if orientation in TRANSPOSITIONS else shown


def orientation_of(image: Image.Image) -> int:
    """The orientation tag; like viewers we take 1, upright, if it is missing or damaged."""
    if image.format != "TIFF" and not any(note in image.info for note in ORIENTATION_NOTES):
        return 1  # without parsing EXIF, which takes a fifth of the time of a small JPEG
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow's EXIF parser raises many kinds of errors for damage; the pixels may still be intact
        return 1


def flatten(image: Image.Image, mode: str) -> Image.Image:
    """A transparent image on a white background, in `mode`; raises UnshownPicture if the result is all white."""
    if image.mode in ("La", "RGBa"):  # premultiplied: Pillow converts it to the plain form only
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    layered = image.convert("LA" if mode == "L" else "RGBA")
    alpha = layered.getchannel("A")
    plain = layered.convert(mode)
    if alpha.getextrema()[0] == 255:
        return plain
    flat = Image.new(mode, image.size, 255 if mode == "L" else WHITE)
    flat.paste(plain, mask=alpha)
    if all(low == high == 255 for low, high in band_ranges(flat)):
        raise UnshownPicture("is transparent or white all over, so it is blank on a white background; flatten it")
    return flat


def band_ranges(image: Image.Image) -> list[tuple[int, int]]:
    """The smallest and the largest value of each channel of an L or RGB image."""
    return [band.getextrema() for band in image.split()]  # type: ignore[misc]
