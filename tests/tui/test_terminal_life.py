"""The laboratory in a pseudo-terminal that stops it, and that goes away."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.tui.conftest import Study


class PseudoTerminal:
    """`ssmlab tui` in a pseudo-terminal, which sends no SIGHUP when it goes: it controls no session."""

    def __init__(self, root: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[2])}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "ssmlab", "tui", str(root)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = b""
        self.process = psutil.Process(self.child.pid)

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Read the output until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 1 << 16)

    def writes(self, text: bytes) -> None:
        """Read until the laboratory has written this."""
        self.until(lambda: text in self.seen)
        self.seen = b""

    def stop_and_continue(self) -> None:
        """Stop the process in a way that it cannot prepare, and let it go on."""
        self.child.send_signal(signal.SIGSTOP)
        self.until(lambda: self.process.status() == psutil.STATUS_STOPPED)
        self.child.send_signal(signal.SIGCONT)


@pytest.fixture
def terminal(study: Study) -> Iterator[PseudoTerminal]:
    terminal = PseudoTerminal(study.root)
    terminal.writes(b"[41-93]")
    terminal.writes(b"robust accuracy %")  # the curves stand as well
    yield terminal
    if terminal.child.poll() is None:
        terminal.child.kill()
        terminal.child.wait()


def test_after_many_stops_one_thread_reads_the_keys_and_the_screen_is_drawn_again(terminal: PseudoTerminal) -> None:
    before = terminal.process.num_threads()
    for _ in range(8):
        terminal.stop_and_continue()
    terminal.writes(b"\x1b[?1049h")  # the other screen of the terminal is taken again
    terminal.writes(b"[41-93]")
    os.write(terminal.master, b"2")
    terminal.writes(b"learning rate")
    assert terminal.process.num_threads() <= before + 2  # threads of the event loop's pool come and go


def test_without_a_terminal_the_tui_ends_although_no_signal_comes(terminal: PseudoTerminal) -> None:
    for _ in range(3):
        terminal.stop_and_continue()
    os.close(terminal.master)
    assert terminal.child.wait(timeout=60) == 128 + signal.SIGHUP
