"""Trainings killed with SIGKILL at random moments continue, and end with the bytes of one that was not killed."""

from __future__ import annotations

import logging
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from ssmlab.artifacts.heartbeat import read_heartbeat, state_of
from ssmlab.artifacts.history import read_history
from ssmlab.core.json_text import canonical_json
from ssmlab.data.dataset import Dataset, Split, load_dataset, make_dataset, save_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.history_reader import HistoryReader
from ssmlab.project.params_file import load_params
from ssmlab.stages.prepare import prepare

RUN, EPOCHS, SEED = "ads", 6, 20
PROJECT = Path(__file__).parents[3]


def smaller(params: Params) -> Params:
    """The smoke study with more and shorter epochs, so that kills hit more different moments."""
    run = params.run(RUN)
    model = run.model.model_copy(update={"dropout": 0.1})
    settings = run.train.model_copy(update={"epochs": EPOCHS, "batch_size": 100, "device": "cpu"})
    changed = run.model_copy(update={"model": model, "train": settings})
    return params.model_copy(update={"runs": {**params.runs, RUN: changed}})


@pytest.fixture(scope="module")
def params() -> Params:
    return smaller(load_params(PROJECT / "studies" / "smoke.yaml"))


@pytest.fixture(scope="module")
def dataset(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    paths = Paths(params.study, tmp_path_factory.mktemp("prepared"))
    prepare(params, paths)
    full = load_dataset(paths.prepared)
    few = Split(full.train.images[:400], full.train.labels[:400], full.train.indices[:400])
    return make_dataset(full.name, full.classes, {"train": few, "validation": full.validation, "test": full.test})


# Forks a training for every folder that it reads. The parent process has imported everything but has never trained,
# because torch does a second of its imports at the first step of an optimiser.
SERVER = """
import os, sys
from pathlib import Path
import torch
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.train.stage import train
params = Params.model_validate_json(sys.argv[1])
torch.optim.AdamW([torch.zeros(1, requires_grad=True)]).step()
for folder in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            train(params, sys.argv[2], Paths(params.study, Path(folder.rstrip())))
            os._exit(0)
        finally:
            os._exit(1)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Trainers:
    """Starts trainings in separate processes, without import time for each."""

    def __init__(self, params: Params) -> None:
        command = [sys.executable, "-c", SERVER, canonical_json(params.plain()), RUN]
        self.server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def run(self, paths: Paths, killed_after: float | None = None) -> int:
        """Train, and kill the training after this many seconds; returns the exit code, -9 if it was killed."""
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(f"{paths.root}\n".encode())
        pid = int(self.server.stdout.readline())
        if not select.select([self.server.stdout], [], [], killed_after)[0]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return int(self.server.stdout.readline())

    def close(self) -> None:
        """Return when the server has ended."""
        self.server.communicate()


@dataclass(frozen=True)
class Outcome:
    """What a training publishes, its history without timings."""

    best: bytes
    last: bytes
    rows: tuple[object, ...]


def outcome(paths: Paths) -> Outcome:
    rows = read_history(paths.model(RUN) / "history.csv")
    timeless = tuple(row._replace(seconds=0, images_per_second=0) for row in rows)
    assert sorted(path.name for path in paths.model(RUN).iterdir()) == [
        "best.safetensors",
        "history.csv",
        "last.safetensors",
        "manifest.json",
    ]
    assert list(paths.live(RUN).glob(".*")) == []
    return Outcome(paths.checkpoint(RUN, "best").read_bytes(), paths.checkpoint(RUN, "last").read_bytes(), timeless)


def moment(paths: Paths) -> str:
    """Where a kill hit, as far as the files show."""
    live = paths.live(RUN)
    if list(live.glob(".state.*")):
        return "in the write of a state"
    if list(live.glob(".*")) or (paths.model(RUN).is_dir() and list(paths.model(RUN).glob(".*"))):
        return "in the write of another file"
    if paths.model(RUN).is_dir():
        return "in publishing or after it"
    if not (live / "progress.json").exists():
        return "before training"
    if not (live / "state.safetensors").exists():
        return "in the first epoch"
    return f"after epoch {len(HistoryReader(live / 'history.csv').poll())}"


def kill_and_compare(trainers: Trainers, params: Params, dataset: Dataset, folder: Path, points: int) -> str:
    """Kill a training at `points` moments, some of them again after they continue; returns a log of the moments."""
    draw = random.Random(SEED)

    def new(name: str) -> Paths:
        paths = Paths(params.study, folder / name)
        save_dataset(paths.prepared, dataset)
        return paths

    assert trainers.run(new("warm-up")) == 0  # the server's start is in this one's time
    peace = new("peace")
    began = time.perf_counter()
    assert trainers.run(peace) == 0
    whole = time.perf_counter() - began
    expected = outcome(peace)
    assert [row.epoch for row in read_history(peace.model(RUN) / "history.csv")] == list(range(1, EPOCHS + 1))

    lines, moments = [f"an undisturbed training takes {whole:.2f} s"], Counter[str]()
    for point in range(points):
        delay, attempt, hits = draw.uniform(0, whole), 0, []
        while trainers.run(paths := new(f"{point}-{attempt}"), killed_after=delay) == 0:
            delay, attempt = delay / 2, attempt + 1  # it was quicker than the undisturbed one
        hits.append(f"{delay:.2f} s, {moment(paths)}")
        delay = draw.uniform(0, whole)
        if trainers.run(paths, killed_after=delay) != 0:
            hits.append(f"{delay:.2f} s, {moment(paths)}")
            beat = read_heartbeat(paths.live(RUN) / "progress.json")
            assert beat is None or state_of(beat, time.time()) in ("killed", "finished")
        moments.update(hit.split(", ", 1)[1].split(" epoch ")[0] for hit in hits)
        assert trainers.run(paths) == 0
        assert outcome(paths) == expected, f"point {point}: {hits}"
        lines.append(f"point {point + 1}: killed after {'; continued, then killed after '.join(hits)}; ends equal")
    summary = ", ".join(f"{number} {where}" for where, number in moments.most_common())
    return "\n".join([*lines, f"{moments.total()} kills at {points} points: {summary}"])


def test_a_training_killed_at_a_few_points_ends_at_the_same_bytes(
    params: Params, dataset: Dataset, tmp_path: Path
) -> None:
    with closing(Trainers(params)) as trainers:
        assert kill_and_compare(trainers, params, dataset, tmp_path, points=3).count("ends equal") == 3


@pytest.mark.slow
def test_a_training_killed_at_twenty_points_ends_at_the_same_bytes(
    params: Params, dataset: Dataset, tmp_path: Path
) -> None:
    """`pytest -m slow --log-cli-level=INFO tests/stages/train/test_kill.py` shows the log."""
    with closing(Trainers(params)) as trainers:
        log = kill_and_compare(trainers, params, dataset, tmp_path, points=20)
    logging.getLogger(__name__).info(log)
    assert log.count("ends equal") == 20
