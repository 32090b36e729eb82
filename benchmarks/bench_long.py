"""300 runs of 1,000 epochs: CPU and wall seconds and memory of commands that should be fast, and a history of 100 MB.

    python benchmarks/bench_long.py [--runs 300] [--epochs 1000] [--megabytes 100]

The study is synthetic: histories in the format of trainings, and attack results with flags of 1,000 images, without
weights, so `verify` finds the prepared data damaged and exits with 1. Each command runs in a separate process; the
operating system reports its CPU time and its largest memory. Wall seconds depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from bench_tui import make_study
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ssmlab.artifacts.history import HEADER, Row, append_row, format_row  # noqa: E402
from ssmlab.evaluation.results import save_results  # noqa: E402
from ssmlab.params.paths import Paths  # noqa: E402
from ssmlab.project.history_reader import HistoryReader  # noqa: E402
from ssmlab.project.params_file import load_params  # noqa: E402
from tests.analysis.synthetic import data_summary, seeded_study, write_data  # noqa: E402

BUDGET = 2.0  # CPU seconds of a command
COMMANDS = (
    "--help",
    "runs",
    "runs --json",
    "alerts",
    "compare run-000-s0 run-001-s0",
    "compare run-000 run-001",
    "verify",
    "doctor",
    "data list",
    "schema",
    "analyze",
    "report",
)


def finish_trainings(root: Path) -> None:
    """Give the runs that are still in training a published history, so that the report has all of them."""
    sound = next((root / "models" / "smoke").glob("*/history.csv"))
    for live in (root / "runs" / "smoke").iterdir():
        shutil.copytree(sound.parent, root / "models" / "smoke" / live.name)
    shutil.rmtree(root / "runs" / "smoke")


class Cost(NamedTuple):
    """What a command took: CPU and wall seconds, and its largest memory in MB; its exit code and its last line."""

    cpu: float
    wall: float
    memory: float
    code: int
    line: str


def measure(command: str, folder: Path) -> Cost:
    """What `ssmlab COMMAND` takes in this folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second command finds the compiled files
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "ssmlab", *command.split()],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=output,
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(cpu, wall, usage.ru_maxrss / 1024, child.returncode, lines[-1] if lines else "")


def long_history(path: Path, megabytes: float) -> int:
    """Write a history of that size; its number of rows."""
    row = Row(1, 13, 1e-3, 2.0, 0.5, 0.9, 0.6, 1.5, 900.0, 1.0, 0.7, 1000)
    line = format_row(row) + "\n"
    count = int(megabytes * 1e6 / len(line))
    with path.open("w") as file:
        file.write(HEADER + "\n")
        for _ in range(count // 1000):
            file.write(line * 1000)
    return count // 1000 * 1000


def follow(path: Path, rows: int) -> Iterator[tuple[str, float, float]]:
    """What the first poll of a long history costs, and a hundred polls of one new row each: CPU s, memory in MB."""
    process = psutil.Process()
    reader = HistoryReader(path)
    began = time.process_time()
    assert len(reader.poll()) == rows
    yield f"first read of {rows:,} rows", time.process_time() - began, process.memory_info().rss / 1e6
    row = reader.rows[-1]
    began = time.process_time()
    for _ in range(100):
        append_row(path, row)
        assert len(reader.poll()) == 1
    yield "100 polls with a new row each", time.process_time() - began, process.memory_info().rss / 1e6


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--megabytes", type=float, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_study(root, options.runs, options.epochs)
        finish_trainings(root)
        params = load_params(root / "params.yaml")
        paths = Paths(params.study, root)
        write_data(paths.prepared, data_summary())
        for results in seeded_study(params):
            save_results(paths.attack(results.run), results)
        table = Table("command", "CPU s", "wall s", "MB", "exit", f"budget {BUDGET:g} s of CPU", "last line")
        for command in COMMANDS:
            cost = measure(command, root)
            verdict = "over" if cost.cpu > BUDGET else ""
            numbers = f"{cost.cpu:.2f}", f"{cost.wall:.2f}", f"{cost.memory:.0f}", str(cost.code)
            table.add_row(command, *numbers, verdict, cost.line[:80])
        console = Console()
        console.print(table)
        history = root / "history.csv"
        table = Table("history.csv", "CPU s", "MB of memory")
        for what, seconds, memory in follow(history, long_history(history, options.megabytes)):
            table.add_row(what, f"{seconds:.2f}", f"{memory:.0f}")
        console.print(table)


if __name__ == "__main__":
    main()
