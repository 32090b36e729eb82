"""Image files as a viewer shows them, in grey or RGB; a file that could be shown in different ways is refused.

docs/data.md has a table of all cases; tests/ingest/test_picture.py has a test for each.
"""

from __future__ import annotations

from PIL import Image

GREY = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
MAX_PIXELS = 25_000_000  # 5,000 x 5,000: decoding, turning and flattening then take at most 300 MB
WHITE = (255, 255, 255)

ORIENTATION = 0x0112  # the EXIF and TIFF tag: how a camera was held
SAMPLE_FORMAT = 339  # the TIFF tag: 1 is unsigned
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


def check_header(image: Image.Image) -> None:
    """Refuse images of the wrong kind by their header, before any pixel is decoded.

    Raises:
        UnshownPicture: it has more than 8 bits a channel, several frames or pages, signed pixels, or too many pixels.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnshownPicture(f"has {width:,} x {height:,} pixels, at most {MAX_PIXELS:,} are decoded; scale it down")
    if image.mode not in GREY + COLOUR:
        raise UnshownPicture(f"has pixels of the kind {image.mode}, not 8 bits a channel; save it as 8-bit grey or RGB")
    if image.format == "TIFF" and any(kind != 1 for kind in image.tag_v2.get(SAMPLE_FORMAT, (1,))):  # type: ignore[attr-defined]
        raise UnshownPicture("has signed pixels; save it as 8-bit grey or RGB")
    # an MPO is a photo followed by a preview or a second view; viewers show the photo
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise UnshownPicture("has several frames or pages; keep one of them, as a file of its own")


def is_grey(image: Image.Image) -> bool:
    """Whether the picture has one channel."""
    return image.mode in GREY


def upright_size(image: Image.Image) -> tuple[int, int]:
    """The (width, height) that the picture is shown with, from the header alone."""
    if image.format == "TIFF":  # Pillow already turns TIFF images upright
        return image.size
    width, height = image.size
    return (height, width) if orientation_of(image) in SIDEWAYS else (width, height)


def as_shown(image: Image.Image) -> Image.Image:
    """The picture upright, on white where it is transparent, in mode L or RGB.

    Raises:
        UnshownPicture: the image is transparent or white everywhere.
        Exception: any error that Pillow raises for damaged bytes.
    """
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
        raise UnshownPicture("is transparent or white all over, so nothing of it can be seen on white; flatten it")
    return flat


def band_ranges(image: Image.Image) -> list[tuple[int, int]]:
    """The smallest and the largest value of each channel of an L or RGB image."""
    return [band.getextrema() for band in image.split()]  # type: ignore[misc]
