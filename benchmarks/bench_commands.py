"""CPU seconds of commands, compared with their budgets.

    python benchmarks/bench_commands.py [--project .] [--rounds 5] [--imports runs]

Each command runs in a process of its own in the folder `--project`; its user and system time are added. The first run
writes Python's compiled files and is not counted, as only a user's first command pays for them; of the others the least
is compared with the budget, since neighbours on the machine can only add to it. Of the TUI it is the time until its
first screen stands. The last rows are what no command can go below: Python and the libraries. `--imports` prints what a
command's slowest imports take (`-X importtime`) instead.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TUI_START = """
import asyncio
from pathlib import Path
from ssmlab.tui.app import {app}

async def start():
    async with {app}(Path(".")).run_test() as pilot:
        await pilot.pause()

asyncio.run(start())
"""
COMMANDS: dict[str, tuple[float, list[str]]] = {
    "runs": (0.2, ["-m", "ssmlab", "runs"]),
    "compare": (0.3, ["-m", "ssmlab", "compare", "ads", "attention"]),
    "help": (0.15, ["-m", "ssmlab", "--help"]),
    "tui": (0.5, ["-c", TUI_START.replace("{app}", "StudyApp")]),
    "dvc status": (5.0, ["-m", "dvc", "status"]),
}
FLOORS = (
    "pass",
    "import typer",
    "import pydantic",
    "import typer, ssmlab.params",
    "import textual.app",
    "import textual_plot",
)


def cpu_seconds(arguments: Sequence[str], folder: Path) -> tuple[float, int]:
    """User and system time of a Python process with its children, and its exit status."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.returncode


def slowest_imports(arguments: Sequence[str], folder: Path, count: int = 25) -> list[str]:
    """The lines of `-X importtime` with the largest cumulated times."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    lines = [line.split("|") for line in done.stderr.splitlines() if line.count("|") == 2 and "cumulative" not in line]
    lines.sort(key=lambda parts: -int(parts[1]))
    return [f"{int(total) / 1000:8.1f} ms {name.rstrip()}" for _, total, name in lines[:count]]


def least(arguments: Sequence[str], folder: Path, rounds: int) -> tuple[float, bool, float]:
    """The least CPU seconds of several runs after a first one, whether any run failed, and the median."""
    runs = [cpu_seconds(arguments, folder) for _ in range(rounds + 1)]
    seconds = [seconds for seconds, _ in runs[1:]]
    return min(seconds), any(status for _, status in runs), statistics.median(seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--command", choices=list(COMMANDS), nargs="+", default=list(COMMANDS))
    parser.add_argument("--imports", choices=list(COMMANDS))
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if options.imports:
        print("\n".join(slowest_imports(COMMANDS[options.imports][1], options.project)))
        return
    print("| command | budget CPU s | least | median | |\n|---|--:|--:|--:|---|")
    for name in options.command:
        budget, arguments = COMMANDS[name]
        seconds, failed, median = least(arguments, options.project, options.rounds)
        verdict = "failed" if failed else "" if seconds <= budget else "over"
        print(f"| `{name}` | {budget} | {seconds:.2f} | {median:.2f} | {verdict} |", flush=True)
    for code in FLOORS:
        seconds, _, median = least(["-c", code], options.project, options.rounds)
        print(f"| `python -c '{code}'` | | {seconds:.2f} | {median:.2f} | |", flush=True)


if __name__ == "__main__":
    main()
