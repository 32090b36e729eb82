"""Test images that an attack has flipped: the clean image, the magnified perturbation, the adversarial image."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget

from ssmlab.core.errors import UserError
from ssmlab.params import Which
from ssmlab.stages.samples.sample_file import FlippedSamples
from ssmlab.tui import labels
from ssmlab.tui.samples import SampleRequest, compute_samples, kept_samples
from ssmlab.tui.screens.base import BACK, LabScreen
from ssmlab.tui.widgets.picture import FramedPicture
from ssmlab.tui.widgets.text_line import TextLine

SCROLL = 4  # lines


class SamplesScreen(LabScreen):
    """The flipped images of one run, one at a time.

    Args:
        run: a run of the study.
        attacks: names of the study's attacks.
    """

    heading = "samples"
    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        Binding("left", "step(-1)", "previous", key_display="←", tooltip="the image before", id="previous-image"),
        Binding("right", "step(1)", "next", key_display="→", tooltip="the image after", id="next-image"),
        Binding("a", "attack(1)", "next attack", tooltip="the images of another attack", id="next-attack"),
        Binding("A", "attack(-1)", "attack before", show=False, tooltip="the attack before", id="previous-attack"),
        Binding("up", "scroll(-1)", "pictures up", show=False, tooltip="if the three pictures do not fit side by side"),
        Binding(
            "down", "scroll(1)", "pictures down", show=False, tooltip="if the three pictures do not fit side by side"
        ),
        Binding("b", "checkpoint", "best or last", tooltip="the other checkpoint of the run", id="checkpoint"),
    ]

    def __init__(self, run: str, attacks: tuple[str, ...]) -> None:
        super().__init__()
        self.run_name, self.attacks = run, attacks
        self.attack, self.which, self.place = 0, "best", 0
        self.samples: FlippedSamples | None = None

    def body(self) -> Iterable[Widget]:
        """A line of text, and three images."""
        yield TextLine(id="sample")
        with Horizontal(id="pictures"):
            for _ in range(3):
                yield FramedPicture(self.lab.pixel_widget)

    def on_mount(self) -> None:
        """Load the images of the first attack."""
        self.load()

    @work(exclusive=True, group="samples")
    async def load(self) -> None:
        """Show saved images immediately; compute other images in another process, with a message."""
        look = self.look
        if look is None or look.params is None or look.paths is None:
            return
        which: Which = "last" if self.which == "last" else "best"
        request = SampleRequest(self.run_name, self.attacks[self.attack], which)
        self.samples, self.place = None, 0
        self.draw(f"loading: attacking test images of {self.run_name} with {request.attack}, in another process ...")
        try:
            kept = asyncio.to_thread(kept_samples, request, look.params, look.paths)
            self.samples = await self.unless_closed(kept)
            if self.samples is None:
                self.samples = await self.unless_closed(compute_samples(request, look.paths))
        except UserError as error:
            self.say(str(error), "bad")
            self.draw(f"no images of {self.run_name} under {request.attack}")
            return
        header = self.samples.header
        nothing = f"{request.attack} flips none of the {header.right} images that {self.run_name} classifies correctly"
        self.draw(nothing if not len(self.samples) else "")

    def draw(self, words: str = "") -> None:
        """Draw the current image; without an image, only the text."""
        frames = list(self.query(FramedPicture))
        samples = self.samples
        if samples is None or not len(samples):
            self.query_one("#sample", TextLine).set(words)
            for frame in frames:
                frame.show(None, "")
            return
        from ssmlab.report.terminal.flipped import flipped_pictures, magnification

        header, place = samples.header, self.place
        self.query_one("#sample", TextLine).set(sample_line(samples, place))
        label, predicted = header.class_names[samples.labels[place]], header.class_names[samples.predicted[place]]
        captions = (
            f"clean\n{label}, {labels.accuracy(float(samples.clean_confidence[place]))}% sure",
            f"perturbation, {magnification(samples.largest_change):.3g} times\n(grey: 0)",
            f"adversarial\n{predicted}, {labels.accuracy(float(samples.confidence[place]))}% sure",
        )
        pictures = flipped_pictures(samples.clean[place], samples.adversarial[place], samples.largest_change)
        for frame, picture, caption in zip(frames, pictures, captions, strict=True):
            frame.show(picture, caption)

    def action_step(self, by: int) -> None:
        """Show the next or the previous image; after the last comes the first."""
        if self.samples is not None and len(self.samples):
            self.place = (self.place + by) % len(self.samples)
            self.draw()

    def action_scroll(self, by: int) -> None:
        """Scroll through images that stand below each other in a narrow terminal."""
        self.query_one("#pictures").scroll_relative(y=by * SCROLL, animate=False)

    def action_attack(self, by: int) -> None:
        """Show the images of the next or the previous attack."""
        self.attack = (self.attack + by) % len(self.attacks)
        self.load()

    def action_checkpoint(self) -> None:
        """Show the images of the other checkpoint."""
        self.which = "last" if self.which == "best" else "best"
        self.load()


def sample_line(samples: FlippedSamples, place: int) -> Text:
    """Which image of which run and attack, and how many were flipped."""
    header = samples.header
    text = Text.assemble((f"{header.run}, {header.checkpoint} checkpoint, {header.attack}", "bold"))
    text.append(f"   image {place + 1} of {len(samples)} (test image {samples.rows[place]})", "")
    counted = f"\nof {header.attacked} images {header.right} right when clean, {header.flipped} of them flipped"
    return text.append(counted, "dim")
