"""Which way of drawing an image is chosen, by what a terminal answers when it is asked."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

# The package waits a tenth of a second for an answer, which is too short on a machine that runs other tests too.
ASK = """
import sys, textual_image._terminal as terminal
read, patience = terminal.read, float(sys.argv[1])
terminal.read = lambda file, count, timeout: read(file, count, patience)
from ssmlab.tui.widgets.picture import FramedPicture, pixel_widget
widget = pixel_widget()
kinds = [type(child).__module__ for child in FramedPicture(widget).compose()]
open(sys.argv[2], "w").write(f"{widget and widget.__module__} {kinds[-1]}")
"""
SIXEL, NO_SIXEL = b"\x1b[?62;4;22c", b"\x1b[?62;22c"
TGP = b"\x1b_Gi=1;OK\x1b\\"


@pytest.mark.parametrize(
    ("columns", "sixel", "tgp", "patience", "chosen"),
    [
        (80, SIXEL, b"", 30.0, "textual_image.widget.sixel"),
        (80, NO_SIXEL, TGP, 30.0, "textual_image.widget"),
        (80, NO_SIXEL, b"", 0.1, "ssmlab.tui.widgets.picture"),
        (0, SIXEL, TGP, 30.0, "ssmlab.tui.widgets.picture"),
    ],
)
def test_a_terminal_that_says_it_draws_pixels_gets_them_and_any_other_half_blocks(
    tmp_path: Path, columns: int, sixel: bytes, tgp: bytes, patience: float, chosen: str
) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 480, 10 * columns))
    said = tmp_path / "said"
    child = subprocess.Popen(
        [sys.executable, "-c", ASK, str(patience), str(said)],
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(slave)
    answer_as_a_terminal(master, child, sixel, tgp)
    assert child.wait(timeout=60) == 0, child.stderr and child.stderr.read()
    pixels, drawn_by = said.read_text().split()
    assert drawn_by == chosen
    assert (pixels == "None") == (chosen == "ssmlab.tui.widgets.picture")


def answer_as_a_terminal(master: int, child: subprocess.Popen[bytes], sixel: bytes, tgp: bytes) -> None:
    """Answer what the child asks until it ends: for its attributes, and for Kitty's protocol."""
    seen = b""
    while child.poll() is None:
        if not select.select([master], [], [], 0.05)[0]:
            continue
        try:
            seen += os.read(master, 1 << 12)
        except OSError:  # the child has closed its side
            break
        for question, answer in ((b"\x1b[c", sixel), (b"\x1b_G", tgp), (b"\x1b[16t", b"\x1b[6;20;10t")):
            if question in seen:
                seen = seen.replace(question, b"")
                os.write(master, answer)
    os.close(master)
