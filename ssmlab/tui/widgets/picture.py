"""A small image on the terminal: real pixels if the terminal can draw them, otherwise two pixels per cell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Static

if TYPE_CHECKING:
    from ssmlab.report.terminal.flipped import Raster

PixelWidget: TypeAlias = Any  # a widget of textual-image, which has no types, with a settable `image`
PIXELS = 448  # side of a drawn image; 16 times an image of 28 x 28 pixels


def pixel_widget() -> type[PixelWidget] | None:
    """The widget that draws pixels on this terminal; None if it cannot. It asks the terminal, so call it first."""
    if not os.get_terminal_size().columns:
        return None  # a serial line without a known size; textual-image would divide by zero
    from textual_image.renderable import Image, SixelImage, TGPImage

    if Image not in (SixelImage, TGPImage):
        return None
    from textual_image import widget

    return widget.SixelImage if Image is SixelImage else widget.TGPImage


class HalfBlockPicture(Widget):
    """An image drawn with half-block characters in all cells of the widget."""

    def __init__(self) -> None:
        super().__init__()
        self.picture: Raster | None = None

    def show(self, picture: Raster | None) -> None:
        """Draw this image, (H, W, 3) uint8; None draws nothing."""
        self.picture = picture
        self.refresh()

    def render(self) -> Text:
        if self.picture is None or not self.size:
            return Text()
        from ssmlab.report.terminal.flipped import fitted
        from ssmlab.report.terminal.image import terminal_image

        lines = terminal_image(fitted(self.picture, self.size.width, 2 * self.size.height))
        return Text("\n", justify="center", no_wrap=True).join(lines)


class PictureCaption(Static):
    """The text above an image."""


class FramedPicture(Vertical):
    """An image with its caption."""

    def __init__(self, pixels: type[PixelWidget] | None) -> None:
        super().__init__(classes="framed")
        self.pixels = pixels

    def compose(self) -> ComposeResult:
        yield PictureCaption("", markup=False)
        yield HalfBlockPicture() if self.pixels is None else self.pixels(classes="pixels")

    def show(self, picture: Raster | None, caption: str) -> None:
        """Draw an image, (H, W, 3) uint8, with a caption above it."""
        self.query_one(PictureCaption).update(caption)
        if self.pixels is None:
            self.query_one(HalfBlockPicture).show(picture)
        else:
            self.query_one(".pixels", self.pixels).image = as_image(picture)


def as_image(picture: Raster | None) -> Any:
    """The picture for textual-image, enlarged by a whole factor so that its pixels have sharp edges."""
    if picture is None:
        return None
    from PIL import Image

    from ssmlab.report.terminal.flipped import fitted

    return Image.fromarray(fitted(picture, PIXELS, PIXELS))
