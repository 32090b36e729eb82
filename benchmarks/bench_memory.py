"""Whether memory grows over a long training and a long watch: resident memory after every so many epochs and looks.

    python benchmarks/bench_memory.py [--epochs 3000] [--looks 3000]

The training is that of a tiny study, in this process and with all its files. The watch is the laboratory without a
terminal, with the curves of a run in training open; before every look the run has one more epoch. The garbage collector
works as in a terminal. Both keep the rows of a history, so some growth is meant: a row takes about 0.5 kB.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench_tui import make_study  # noqa: E402

from ssmlab.artifacts.history import Row, append_row  # noqa: E402
from ssmlab.core.events import Event, Note  # noqa: E402
from ssmlab.params.paths import Paths  # noqa: E402
from ssmlab.project.params_file import load_params  # noqa: E402
from ssmlab.stages.prepare import prepare  # noqa: E402
from ssmlab.stages.train.stage import train  # noqa: E402
from tests.tiny_project import RUN, make_tiny_project  # noqa: E402

SAMPLES = 6  # of each measurement


class Sampler:
    """Resident memory in MB, `SAMPLES` times over a number of rounds; `collect`: after a collection of garbage."""

    def __init__(self, rounds: int, collect: bool) -> None:
        self.every, self.count, self.collect = max(1, rounds // SAMPLES), 0, collect
        self.found: list[tuple[int, float]] = []

    def tick(self) -> None:
        """One more round."""
        self.count += 1
        if self.count % self.every == 0:
            if self.collect:
                gc.collect()
            self.found.append((self.count, psutil.Process().memory_info().rss / 1e6))

    def report(self, what: str) -> None:
        """Print the samples, and the growth per 1,000 rounds between the second and the last."""
        (first, before), (last, after) = self.found[1], self.found[-1]
        series = ", ".join(f"{count:,}: {megabytes:.1f}" for count, megabytes in self.found)
        print(f"{what}: MB after {series}; {1000 * (after - before) / (last - first):+.2f} MB per 1,000", flush=True)


def train_long(epochs: int) -> None:
    """A training with this number of epochs."""
    sampler = Sampler(epochs, collect=True)

    def listen(event: Event) -> None:
        if isinstance(event, Note) and event.text.startswith("epoch "):
            sampler.tick()

    make_tiny_project(Path())
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("epochs: 2\n", f"epochs: {epochs}\n"))
    params = load_params(Path("params.yaml"))
    paths = Paths(params.study)
    prepare(params, paths)
    train(params, RUN, paths, on_event=listen)
    sampler.report("epochs")


async def watch_long(looks: int) -> None:
    """A watch with this number of looks."""
    from ssmlab.tui import app as laboratory
    from ssmlab.tui.collector import THRESHOLDS

    make_study(Path(), 5, 200)
    live = next(Path("runs/smoke").iterdir())
    history, sampler = live / "history.csv", Sampler(looks, collect=False)
    laboratory.POLL = 0.01
    app = laboratory.StudyApp(Path())
    async with app.run_test(size=(120, 40)) as pilot:
        take: Callable[..., None] = app.take

        def taken(*arguments: object) -> None:
            take(*arguments)
            sampler.tick()
            epoch = 100 + sampler.count
            append_row(history, Row(epoch, 13 * epoch, 1e-3, 2 / epoch, 0.5, 0.9, 0.6, 1.5, 900.0, 1.0, 0.7, 10_000))

        app.take = taken  # type: ignore[method-assign]
        await pilot.press("space", "2")
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        while sampler.count < looks:
            await pilot.pause(0.05)
    sampler.report("looks")


def main() -> None:
    """Measure both, each in an empty folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3000)
    parser.add_argument("--looks", type=int, default=3000)
    options = parser.parse_args()
    for measure in (lambda: train_long(options.epochs), lambda: asyncio.run(watch_long(options.looks))):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            measure()
            os.chdir(ROOT)


if __name__ == "__main__":
    main()
