"""The laboratory in a real terminal: tmux, driven with real keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.tui.conftest import Study

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux, which is not installed here")


class Terminal:
    """A tmux server of its own with one window."""

    def __init__(self, folder: Path, command: list[str], width: int = 100, height: int = 30) -> None:
        self.socket = str(folder / "tmux.sock")
        self.environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.environment.pop("TMUX", None)
        text = " ".join(command) + "; code=$?; echo; echo ended with $code; sleep 60"
        self.tmux("-f", os.devnull, "new-session", "-d", "-x", str(width), "-y", str(height), text)

    def tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self.socket, *arguments], env=self.environment, capture_output=True, text=True
        )
        return done.stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def size(self) -> tuple[int, int]:
        """Columns and rows that the program in the window is told; tmux passes a new size on some time later."""
        with Path(self.tmux("display-message", "-p", "#{pane_tty}").strip()).open() as tty:
            return tuple(os.get_terminal_size(tty.fileno()))

    def resize(self, width: int, height: int) -> None:
        """Resize the window and wait until the program is told so: what is drawn can only follow that."""
        self.tmux("resize-window", "-x", str(width), "-y", str(height))
        deadline = time.monotonic() + 60
        while self.size() != (width, height):
            assert time.monotonic() < deadline, self.size()
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def wait_for(self, text: str, seconds: float = 60.0) -> str:
        deadline = time.monotonic() + seconds
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, screen
            time.sleep(0.1)
        return screen

    def laboratory(self) -> psutil.Process:
        """The process of `ssmlab tui`."""
        shell = psutil.Process(int(self.tmux("display-message", "-p", "#{pane_pid}")))
        return next(child for child in shell.children(recursive=True) if "ssmlab" in child.cmdline())

    def wait_without(self, text: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while text in (screen := self.screen()):
            assert time.monotonic() < deadline, screen
            time.sleep(0.1)


@pytest.fixture
def terminal(study: Study) -> Iterator[Terminal]:
    terminal = Terminal(study.root, [sys.executable, "-m", "ssmlab", "tui", str(study.root)])
    yield terminal
    terminal.tmux("kill-server")


def test_real_keys_move_filter_open_and_quit_and_the_terminal_is_given_back(terminal: Terminal) -> None:
    screen = terminal.wait_for("[41-93]")
    assert "smoke · runs" in screen and "✔ finished" in screen
    terminal.press("Down", "Enter")
    terminal.wait_for("attention of smoke")
    terminal.press("Escape")
    terminal.wait_without("attention of smoke")  # an Escape with a key right behind it is that key with Alt
    terminal.press("/")
    terminal.wait_for("filter: words")
    terminal.press("-l", "run:ssm")
    terminal.wait_for("run:ssm")
    terminal.press("Enter")
    terminal.wait_without("attention")
    time.sleep(1.0)  # until the table has the keys again
    terminal.press("2")
    terminal.wait_for("smoke · curves")
    terminal.press("Escape")
    terminal.wait_for("smoke · runs")
    terminal.press("q")
    assert "smoke · runs" not in terminal.wait_for("ended with 0")


def test_a_window_that_is_made_small_and_large_again_is_drawn_completely(terminal: Terminal) -> None:
    terminal.wait_for("[41-93]")
    terminal.resize(40, 10)
    terminal.wait_for("attention")
    terminal.resize(120, 36)
    for text in ("robust accuracy %", "q quit", "✔ finished"):
        terminal.wait_for(text)


def test_a_terminal_size_in_the_environment_is_ignored(study: Study) -> None:
    command = ["env", "COLUMNS=80", "LINES=24", sys.executable, "-m", "ssmlab", "tui", str(study.root)]
    terminal = Terminal(study.root, command)
    try:
        terminal.wait_for("[41-93]")
        terminal.resize(120, 36)
        deadline = time.monotonic() + 60
        while not drawn_whole(lines := terminal.screen().splitlines(), 36):
            assert time.monotonic() < deadline, "\n".join(lines)
            time.sleep(0.1)
    finally:
        terminal.tmux("kill-server")


@pytest.mark.slow
def test_a_hundred_sizes_in_a_row_leave_one_whole_drawing(terminal: Terminal) -> None:
    terminal.wait_for("ssmlab")  # at once, while the first screen is still being made
    sizes = [(40, 10), (120, 36), (20, 5), (100, 30), (60, 19)]
    for number in range(100):
        width, height = sizes[number % len(sizes)]
        terminal.tmux("resize-window", "-x", str(width), "-y", str(height))
        time.sleep((0.0, 0.01, 0.05, 0.12)[number % 4])
    terminal.resize(120, 36)
    deadline = time.monotonic() + 60
    while not drawn_whole(lines := terminal.screen().splitlines(), 36):
        assert time.monotonic() < deadline, "\n".join([str(terminal.size()), *lines])
        time.sleep(0.1)


def drawn_whole(lines: list[str], height: int) -> bool:
    """Whether the heading is the first line, the keys are the last, and both are there once."""
    headings = [y for y, line in enumerate(lines) if "ssmlab  smoke" in line]
    keys = [y for y, line in enumerate(lines) if "r run" in line]
    return headings == [0] and keys == [height - 1] and any("robust accuracy %" in line for line in lines)


def test_an_end_by_signal_restores_the_terminal(terminal: Terminal) -> None:
    terminal.wait_for("[41-93]")
    os.kill(terminal.laboratory().pid, 15)
    terminal.wait_for("ended with 143")


def test_a_terminal_that_is_closed_leaves_no_process_behind(terminal: Terminal) -> None:
    terminal.wait_for("[41-93]")
    process = terminal.laboratory()
    terminal.tmux("kill-server")
    process.wait(timeout=30)


def test_no_colour_is_needed_to_read_the_states(study: Study) -> None:
    command = ["env", "NO_COLOR=1", sys.executable, "-m", "ssmlab", "tui", str(study.root)]
    terminal = Terminal(study.root, command)
    try:
        terminal.wait_for("✔ finished")
        coloured = terminal.tmux("capture-pane", "-p", "-e")
        assert "▶ training" in terminal.screen() and "\x1b[38;2;63;174;124" not in coloured
    finally:
        terminal.tmux("kill-server")
