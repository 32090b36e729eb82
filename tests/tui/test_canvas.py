"""Dots end where they should, and no line hides another."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.tui.canvas import Canvas
from ssmlab.tui.curves import epoch_axis, epoch_ticks, place

# The dots of a Braille character as Unicode numbers them: 1 2 3 7 down the left column, 4 5 6 8 down the right.
NUMBERED = {1: (0, 0), 2: (0, 1), 3: (0, 2), 7: (0, 3), 4: (1, 0), 5: (1, 1), 6: (1, 2), 8: (1, 3)}


def dots(canvas: Canvas) -> set[tuple[int, int]]:
    """Every dot that is drawn, read back from the characters."""
    found = set()
    for y in range(canvas.height):
        for x, (character, _) in enumerate(canvas.row(y)):
            bits = ord(character) - 0x2800 if character != " " else 0
            found |= {(2 * x + dx, 4 * y + dy) for n, (dx, dy) in NUMBERED.items() if bits >> (n - 1) & 1}
    return found


def test_corners() -> None:
    canvas = Canvas(10, 5)
    canvas.line([(0.0, 0.0)], "red")
    canvas.line([(1.0, 1.0)], "red")
    assert dots(canvas) == {(0, 19), (19, 0)}


def test_a_level_line_is_one_row_of_dots() -> None:
    canvas = Canvas(4, 4)
    canvas.line([(0.0, 0.2), (1.0, 0.2)], "red")
    assert dots(canvas) == {(x, 12) for x in range(8)}


@given(
    points=st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5)), min_size=1, max_size=6),
    width=st.integers(1, 20),
    height=st.integers(1, 8),
)
@settings(deadline=None, max_examples=25)
def test_a_line_has_no_gaps_and_stays_inside(points: list[tuple[float, float]], width: int, height: int) -> None:
    canvas = Canvas(width, height)
    canvas.line(points, "red")
    drawn = dots(canvas)
    assert drawn
    assert all(0 <= x < 2 * width and 0 <= y < 4 * height for x, y in drawn)
    reached, edge = set(), {next(iter(drawn))}
    while edge:
        reached |= edge
        edge = {(x + i, y + j) for x, y in edge for i in (-1, 0, 1) for j in (-1, 0, 1)} & drawn - reached
    assert reached == drawn


def test_lines_share_a_cell() -> None:
    canvas = Canvas(1, 1)
    canvas.line([(0.0, 0.0), (1.0, 0.0)], "red")
    canvas.line([(0.0, 1.0), (1.0, 1.0)], "blue")
    assert list(canvas.row(0)) == [("⣉", "blue")]


def test_a_rule_gives_way_to_lines() -> None:
    canvas = Canvas(4, 1)
    canvas.line([(0.0, 1.0)], "red")
    canvas.rule(0.0, "grey")
    assert list(canvas.row(0)) == [("⠁", "red"), (" ", ""), ("⡀", "grey"), (" ", "")]


def test_epoch_ticks() -> None:
    assert epoch_ticks(1) == [1]
    assert epoch_ticks(5) == [1, 2, 3, 4, 5]
    assert epoch_ticks(10) == [1, 2, 4, 6, 8, 10]
    assert epoch_ticks(180) == [1, 50, 100, 150]


@given(epochs=st.integers(1, 2000), width=st.integers(1, 120))
@settings(deadline=None, max_examples=25)
def test_axis_labels_are_whole_and_apart(epochs: int, width: int) -> None:
    axis = epoch_axis(Canvas(width, 1), epochs)
    assert len(axis) == width
    labels = [int(label) for label in axis.split()]
    assert labels == sorted(set(labels))
    assert set(labels) <= set(epoch_ticks(epochs))


def test_a_study_of_one_epoch_has_a_place() -> None:
    assert place(1, 1) == 0.0
    assert place(1, 10) == 0.0 and place(10, 10) == 1.0
