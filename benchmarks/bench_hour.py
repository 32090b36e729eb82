"""Whether memory grows over an hour: a training, and the laboratory that follows it, in processes of their own.

    python benchmarks/bench_hour.py [--minutes 60]

The smoke study is copied to a temporary folder with so many epochs that its training does not end. `ssmlab train ssm`
runs, and `ssmlab tui` follows it in a pseudo-terminal of 120 x 40 cells with the run's curves open. Every minute a row
has the resident memory of both; the slopes are those of straight lines through all rows after the first ten minutes.
Both keep the rows of the history, so some growth with the epochs is meant; the last line gives it in kB an epoch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from tui_terminal import drain, start_tui

ROOT = Path(__file__).resolve().parents[1]
WARM = 10  # minutes at the start that are not part of the slope
RUN = "ssm"
KEYS = b" 2"  # mark the first run, open the curves
Sample = tuple[float, int, float, float]  # minutes, epochs so far, MB of the training, MB of the laboratory


def make_project(root: Path) -> None:
    """The smoke study with an endless training, its data prepared."""
    shutil.copytree(ROOT / "ssmlab", root / "ssmlab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    text = (ROOT / "studies" / "smoke.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("epochs: 2\n", "epochs: 100000\n"))
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "ssmlab", "prepare"], cwd=root, check=True, capture_output=True)


def start_training(root: Path) -> subprocess.Popen[bytes]:
    """`ssmlab train` in the background."""
    with (root / "training.txt").open("wb") as output:
        return subprocess.Popen([sys.executable, "-m", "ssmlab", "train", RUN], cwd=root, stdout=output, stderr=output)


def epochs_of(root: Path) -> int:
    """How many epochs the training has written."""
    history = root / "runs" / "smoke" / RUN / "history.csv"
    return max(0, history.read_bytes().count(b"\n") - 1) if history.exists() else 0


def sample_all(root: Path, training: int, laboratory: int, terminal: int, minutes: int) -> list[Sample]:
    """Take a sample every minute."""
    began, samples = time.monotonic(), []
    watched = [psutil.Process(training), psutil.Process(laboratory)]
    for minute in range(1, minutes + 1):
        drawn = drain([terminal], began + 60 * minute - time.monotonic())
        memory = [process.memory_info().rss / 1e6 for process in watched]
        samples.append((float(minute), epochs_of(root), memory[0], memory[1]))
        print(f"{minute},{samples[-1][1]},{memory[0]:.1f},{memory[1]:.1f},{drawn}", flush=True)
    return samples


def slope(samples: list[Sample], column: int, over: int = 0) -> float:
    """MB per minute (`over` 0) or per epoch (1) of a straight line through the samples after the first ten minutes."""
    kept = np.array(samples[WARM:] if len(samples) > WARM + 1 else samples)
    return float(np.polyfit(kept[:, over], kept[:, column], 1)[0])


def main() -> None:
    """Measure, and print the slopes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["PYTHONPATH"] = name
        make_project(root)
        training = start_training(root)
        while not epochs_of(root):
            if training.poll() is not None:
                raise SystemExit((root / "training.txt").read_text()[-2000:])
            time.sleep(1)
        laboratory, terminal = start_tui(root)
        drain([terminal], 15)
        os.write(terminal, KEYS)
        print("minute,epochs,training MB,laboratory MB,bytes drawn", flush=True)
        try:
            samples = sample_all(root, training.pid, laboratory, terminal, minutes)
        finally:
            for pid in (training.pid, laboratory):
                os.kill(pid, signal.SIGTERM)
            drain_until_end(laboratory, terminal)
            training.wait()
    print(f"MB an hour: training {60 * slope(samples, 2):+.2f}, laboratory {60 * slope(samples, 3):+.2f}")
    print(f"kB an epoch: training {1000 * slope(samples, 2, 1):+.2f}, laboratory {1000 * slope(samples, 3, 1):+.2f}")


def drain_until_end(pid: int, terminal: int) -> None:
    """Read on until the process has ended, which waits for its terminal."""
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        try:
            drain([terminal], 0.2)
        except OSError:  # the other end is closed
            time.sleep(0.2)


if __name__ == "__main__":
    main()
