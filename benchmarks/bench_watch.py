"""Whether the memory of `ssmlab tui` grows while it follows a training: one history, and the TUI of each checkout.

    python benchmarks/bench_watch.py [CHECKOUT ...] [--minutes 27]

Each TUI runs in a pseudo-terminal of 120 x 40 cells with the curves of the run open. The history is synthetic and gets
two epochs a second, so that 20 minutes have the epochs of an hour of the smoke study. Every minute a line has the
resident memory of each TUI in MB and its CPU seconds; the last line has the growth per 1,000 epochs after the first
minute. The rows of the history are kept, so 0.5 MB per 1,000 epochs are meant.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from bench_tui import make_study  # noqa: E402
from tui_terminal import drain, start_tui  # noqa: E402

from ssmlab.artifacts.history import Row, append_row  # noqa: E402

FIRST = 20  # epochs before the watch begins
SECONDS = 0.5  # between two epochs


class Watched:
    """One `ssmlab tui` in a pseudo-terminal, with the code of a checkout."""

    def __init__(self, checkout: Path) -> None:
        self.pid, self.terminal = start_tui(Path(), PYTHONPATH=str(checkout))
        self.process = psutil.Process(self.pid)

    @property
    def megabytes(self) -> float:
        """Resident memory."""
        return float(self.process.memory_info().rss / 1e6)

    @property
    def cpu(self) -> float:
        """CPU seconds so far."""
        return float(sum(self.process.cpu_times()[:2]))


def read_all(watched: list[Watched], seconds: float) -> None:
    """Read what the TUIs draw for so long."""
    drain([each.terminal for each in watched], seconds)


def press(watched: list[Watched], keys: bytes) -> None:
    """The same keys for every TUI."""
    for each in watched:
        os.write(each.terminal, keys)
    read_all(watched, 1)


def row(epoch: int) -> Row:
    """An epoch whose curves go up and down a little."""
    accuracies = 0.9 - 0.001 * (epoch % 13), 0.6 - 0.001 * (epoch % 5)
    return Row(epoch, 13 * epoch, 1e-3, 2 / epoch + 0.01 * (epoch % 7), 0.5, *accuracies, 1.5, 900.0, 1.0, 0.7, 10_000)


def watch(checkouts: list[Path], minutes: int) -> None:
    """Measure in the current folder, which is empty."""
    make_study(Path(), 1, FIRST)
    history = next(Path("runs/smoke").iterdir()) / "history.csv"
    watched, epoch = [Watched(checkout) for checkout in checkouts], FIRST
    samples: list[tuple[int, list[float]]] = []
    read_all(watched, 12)
    press(watched, b" ")  # mark the run
    press(watched, b"2")  # open its curves
    began = time.monotonic()
    for minute in range(1, minutes + 1):
        while time.monotonic() < began + 60 * minute:
            epoch += 1
            append_row(history, row(epoch))
            read_all(watched, SECONDS)
        samples.append((epoch, [each.megabytes for each in watched]))
        told = "  ".join(f"{each.megabytes:.1f} MB {each.cpu:.1f} s" for each in watched)
        print(f"minute {minute}, epoch {epoch}: {told}", flush=True)
    (first, before), (last, after) = samples[0], samples[-1]
    growth = [1000 * (new - old) / max(1, last - first) for old, new in zip(before, after, strict=True)]
    print("MB per 1,000 epochs: " + "  ".join(f"{each:+.2f}" for each in growth))
    for each in watched:
        os.kill(each.pid, signal.SIGTERM)
    with suppress(OSError):  # the other end is closed
        read_all(watched, 2)


def main() -> None:
    """Read the command line and measure in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[ROOT])
    parser.add_argument("--minutes", type=int, default=27)
    options = parser.parse_args()
    checkouts = [checkout.resolve() for checkout in options.checkouts]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        watch(checkouts, options.minutes)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
