"""How events are shown to users."""

from __future__ import annotations

import io

from rich.console import Console

from ssmlab.cli.progress import SECONDS_BETWEEN_PLAIN_LINES, display, plain_listener, reading
from ssmlab.core.events import Note, Progress


def test_progress_shows_only_what_is_known() -> None:
    assert reading(Progress("epoch 1/2", 1, 9)) == ""
    full = Progress("epoch 1/2", 1, 9, clean=0.912, robust=0.74, images_per_second=1234.4, eta=42)
    assert reading(full) == "clean 91.2%  robust 74.0%  1,234 images/s  ETA 42s"


def test_piped_output_has_every_note_and_few_progress_lines() -> None:
    lines: list[str] = []
    now = [0.0]
    listen = plain_listener(lines.append, lambda: now[0])
    listen(Note("epoch 1/2  robust [74.0%]"))
    for second in range(100):
        now[0] = float(second)
        listen(Progress("epoch 2/2", second, 100))
    listen(Note("masked gradients", warning=True))
    assert lines[0] == "epoch 1/2  robust [74.0%]"
    assert lines[-1] == "warning: masked gradients"
    assert len(lines) == 2 + int(99 // SECONDS_BETWEEN_PLAIN_LINES)


def test_a_pipe_gets_whole_lines_without_colour() -> None:
    file = io.StringIO()
    with display(Console(file=file, width=20)) as listen:
        listen(Note("a note that is far longer than twenty columns [0, 1]"))
    assert file.getvalue() == "a note that is far longer than twenty columns [0, 1]\n"


def test_a_terminal_shows_the_bar_of_the_task_at_hand() -> None:
    file = io.StringIO()
    with display(Console(file=file, force_terminal=True, width=100)) as listen:
        listen(Progress("epoch 1/2", 1, 2, clean=0.5))
        listen(Note("epoch 1/2  done"))
        listen(Progress("epoch 2/2", 1, 2, robust=0.25))
    text = file.getvalue()
    assert "epoch 1/2  done" in text
    assert "epoch 2/2" in text and "robust 25.0%" in text
