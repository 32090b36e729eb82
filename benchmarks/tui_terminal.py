"""`ssmlab tui` in a pseudo-terminal of 120 x 40 cells, for the scripts that measure it from outside."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def start_tui(folder: Path, **environment: str) -> tuple[int, int]:
    """Start the TUI in a folder; its pid and the other end of its terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", COLUMNS="120", LINES="40", **environment)
        os.execv(sys.executable, [sys.executable, "-m", "ssmlab", "tui"])
    return pid, terminal


def drain(terminals: Sequence[int], seconds: float) -> int:
    """Read what the TUIs draw for this many seconds; returns the number of bytes."""
    end, count = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0:
        for terminal in select.select(terminals, [], [], left)[0]:
            count += len(os.read(terminal, 65536))
    return count
