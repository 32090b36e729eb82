"""The cost of `ssmlab tui`: first screen, keys, idle time and bytes written, with 5 and with 300 runs of 200 epochs.

    python benchmarks/bench_tui.py [--runs 5 300] [--epochs 200] [--idle 20]

It runs in a pseudo-terminal of 120 x 40 cells over a synthetic study. Every thirtieth run, at least one, is in training
with the heartbeat of this process and files that do not change; the others are trained. CPU seconds are those of its
process, so a busy machine changes them little; wall seconds are the time that a user waits on this machine.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from ssmlab.artifacts.heartbeat import Heartbeat
from ssmlab.artifacts.history import Row, format_history
from ssmlab.core.json_text import canonical_json
from ssmlab.params.paths import Paths
from ssmlab.system.processes import pid_start_time

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, ROWS = 120, 40
QUIET = 0.25  # seconds without output after which a key is done
KEYS = {
    "down": b"\x1b[B",
    "page down": b"\x1b[6~",
    "end": b"\x1b[F",
    "home": b"\x1b[H",
    "columns right": b"\x1b[C",
    "mark": b" ",
    "mark all": b"a",
    "unmark all": b"a",
    "fold all groups": b"F",
    "group": b"g",
    "x axis": b"x",
    "curves": b"2",
    "cursor": b"\x1b[C",
    "back": b"\x1b",
    "alerts": b"8",
    "back again": b"\x1b",
}
TIMES = 3  # each key


def make_study(root: Path, runs: int, epochs: int) -> None:
    """The smoke study with this number of runs, in groups of three seeds, and the files of finished runs."""
    text = (ROOT / "studies" / "smoke.yaml").read_text()
    begin, end = text.index("runs:\n"), text.index("attack:\n")
    lines = []
    for i in range(runs):
        model, train = f"{{d_state: {8 + 2 * (i // 3)}}}", f"{{epochs: {epochs}, seed: {i % 3}}}"
        lines.append(f"  run-{i // 3:03d}-s{i % 3}: {{model: {model}, train: {train}}}")
    text = text[:begin] + "runs:\n" + "\n".join(lines) + "\n\n" + text[end:]
    analyze, report = text.index("analyze:\n"), text.index("report:\n")
    text = text[:analyze] + "analyze:\n  confidence: 0.95\n  claims: []\n\n" + text[report:]
    (root / "params.yaml").write_text(text)
    (root / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    paths = Paths("smoke", root)
    for i in range(runs):
        write_run(paths, f"run-{i // 3:03d}-s{i % 3}", epochs, training=i % 30 == 29 or (runs < 30 and i == 0))


def write_run(paths: Paths, name: str, epochs: int, training: bool) -> None:
    """The history of a run that is trained, or is halfway through its training."""
    rows = list(noisy_rows(name, epochs))[: epochs // (2 if training else 1)]
    folder = paths.live(name) if training else paths.model(name)
    folder.mkdir(parents=True)
    (folder / "history.csv").write_text(format_history(rows))
    os.utime(folder / "history.csv", (time.time() - 8000, time.time() - 8000))  # ages that stay as they are for a while
    if training:
        beat = Heartbeat(
            stage="train", study="smoke", run=name, pid=os.getpid(), pid_start=pid_start_time(os.getpid()),
            host=socket.gethostname(), device="cpu", task=f"epoch {len(rows)}/{epochs}", epoch=len(rows), epochs=epochs,
            images_per_second=900.0, eta_seconds=300.0, time=time.time() + 40,
        )  # fmt: skip
        (folder / "progress.json").write_text(canonical_json(asdict(beat)))


def noisy_rows(name: str, epochs: int) -> Iterator[Row]:
    """Epochs of a run whose curves have noise, as real ones do; the same ones for the same name."""
    luck = random.Random(name)
    worse, faster = luck.uniform(0, 0.2), luck.uniform(0, 0.1)  # what this run loses from the start, and by the end
    for e in range(1, epochs + 1):
        clean = min(max(0.9 - worse - 0.5 / e + luck.gauss(0, 0.006), 0.0), 1.0)
        robust = min(max(0.6 - worse - 0.4 / e - faster * e / epochs + luck.gauss(0, 0.01), 0.0), 1.0)
        loss = 1.2 + 1 / e + faster * e / epochs + abs(luck.gauss(0, 0.02))
        yield Row(e, 13 * e, 1e-3, 2 / e, 0.5, clean, robust, 1.5, 900.0, loss, min(robust + 0.1 * worse, 1.0), epochs)


class Session:
    """`ssmlab tui` in a pseudo-terminal."""

    def __init__(self, root: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second start finds the compiled files
        self.began = time.monotonic()
        command = [sys.executable, "-m", "ssmlab", "tui", str(root)]
        self.child = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.process = psutil.Process(self.child.pid)

    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def read(self, seconds: float) -> bytes:
        """The output until no more has come for this many seconds."""
        found = b""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                found += os.read(self.master, 1 << 16)
            except OSError:
                break
        return found

    def read_for(self, seconds: float) -> int:
        """How many bytes are written in this many seconds."""
        count, deadline = 0, time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                count += len(os.read(self.master, 1 << 16))
        return count

    def wait_for(self, text: bytes) -> tuple[float, float]:
        """Wall and CPU seconds from the start until `text` has been written."""
        seen = b""
        while text not in seen:
            if not select.select([self.master], [], [], 60)[0]:
                raise SystemExit(f"nothing more is written; the last: {seen[-300:]!r}")
            seen += os.read(self.master, 1 << 16)
        return time.monotonic() - self.began, self.cpu()

    def press(self, key: bytes) -> float:
        """CPU seconds that a key costs, with all that follows it until the screen is quiet."""
        before = self.cpu()
        os.write(self.master, key)
        self.read(QUIET)
        return self.cpu() - before

    def close(self) -> None:
        """End it as a closed terminal would."""
        self.child.send_signal(signal.SIGHUP)
        self.read(1.0)
        self.child.wait(timeout=30)
        os.close(self.master)


def measure(runs: int, epochs: int, idle: float) -> list[tuple[str, str]]:
    """All figures for a study with this number of runs."""
    with tempfile.TemporaryDirectory() as folder:
        make_study(Path(folder), runs, epochs)
        session = Session(Path(folder))
        try:
            wall, cpu = session.wait_for(b"run-000-s0")
            found = [("first screen", f"{wall:.2f} s wall, {cpu:.2f} s CPU")]
            session.read(3.0)
            before, began = session.cpu(), time.monotonic()
            written = session.read_for(idle)
            share = (session.cpu() - before) / (time.monotonic() - began)
            found.append(("idle", f"{100 * share:.2f}% of a core, {written} bytes written in {idle:.0f} s"))
            worst: dict[str, float] = {}
            for _ in range(TIMES):
                for name, key in KEYS.items():
                    worst[name] = max(worst.get(name, 0.0), session.press(key))
        finally:
            session.close()
    ordered = sorted(worst.items(), key=lambda pair: -pair[1])
    found.append(("slowest keys", ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in ordered[:6])))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[5, 300])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--idle", type=float, default=20.0)
    options = parser.parse_args()
    table = Table("runs", "measure", "found")
    for runs in options.runs:
        for name, value in measure(runs, options.epochs, options.idle):
            table.add_row(str(runs), name, value)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
