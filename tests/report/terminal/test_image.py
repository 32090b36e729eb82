"""Images in the terminal: the colours are the pixels, and no line is wider than it may be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style

from ssmlab.data.header import DataSummary, Description
from ssmlab.report.terminal.contact_sheet import ClassRow, ContactSheet
from ssmlab.report.terminal.image import MOST_CLASSES, terminal_image, terminal_sheet


def sheet(names: list[str], shape: tuple[int, int, int], n: int) -> ContactSheet:
    description = Description(
        name="toy", source="made up", provenance="own", class_names=tuple(names), seed=0, fingerprint="0" * 64
    )
    images = np.random.default_rng(0).integers(256, size=(n, *shape[1:], 3), dtype=np.uint8)
    return ContactSheet(DataSummary(description, shape, n, 1, 1), tuple(ClassRow(name, images) for name in names))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 100))
def test_the_colours_of_a_terminal_image_are_its_pixels(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    back: npt.NDArray[np.uint8] = np.zeros_like(image)
    for line, text in enumerate(terminal_image(image)):
        assert text.plain == "▀" * width
        for span in text.spans:
            assert isinstance(span.style, Style) and span.end == span.start + 1
            assert span.style.color is not None
            back[2 * line, span.start] = span.style.color.triplet
            if span.style.bgcolor is not None:
                back[2 * line + 1, span.start] = span.style.bgcolor.triplet
    assert (back == image).all()


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.sampled_from(["0", "airplane", "normal colon mucosa and more of it", "猫猫猫猫猫猫"]), min_size=1, max_size=3
    ),
    st.sampled_from([(1, 8, 8), (3, 64, 64), (3, 32, 20)]),
    st.integers(0, 10),
    st.integers(8, 300),
)
def test_no_line_of_images_is_wider_than_the_terminal(
    names: list[str], shape: tuple[int, int, int], n: int, width: int
) -> None:
    lines = list(terminal_sheet(sheet(names, shape, n), width))
    assert lines and all(line.cell_len <= width for line in lines)


def test_images_are_not_scaled_where_there_is_room() -> None:
    example = sheet(["a"], (3, 8, 8), 3)
    lines = list(terminal_sheet(example, 200))
    assert len(lines) == 4
    first = next(terminal_image(example.rows[0].images[0]))
    assert lines[0][2:10].spans == first.spans
    assert lines[0].plain == "a " + " ".join(["▀" * 8] * 3)


def test_of_many_classes_only_the_first_are_drawn_and_the_others_are_counted() -> None:
    names = [f"class {number}" for number in range(MOST_CLASSES + 5)]
    lines = [line.plain for line in terminal_sheet(sheet(names, (1, 4, 4), 1), 80)]
    assert lines[-1] == "and 5 more classes"
    assert sum(line.startswith("class") for line in lines) == MOST_CLASSES
