"""Faults of the disk under the processes that run others, a short sweep; `make faults` makes it longer.

They are DVC, which `ssmlab repro` starts, and the process of `ssmlab grid`. Their own changes and reads of the disk
(dvc.lock, locks, cache, database, records) are broken while a setting has changed. Afterwards the last line is an error
of ours; the same command then succeeds, trains nothing again and leaves the new results; and `ssmlab verify` finds no
damage.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.inject_library import CHANGE_KINDS, KINDS, LIBRARY, NEVER, READ_KINDS, build
from tests.tiny_project import PARAMS, RUN, STUDY, make_tiny_project

ROOT = Path(__file__).parents[2]
ARMED = Path(__file__).with_name("armed")
LEAST = 3  # injections, however slow the machine is

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD as it is used here is Linux's"),
    pytest.mark.skipif(
        shutil.which("cc") is None, reason="needs a C compiler (cc) for the library that injects faults"
    ),
]


@dataclass(frozen=True)
class Parent:
    """A command of ours, and the process of it that is broken.

    Attributes:
        command: the command.
        process: what is in the command line of the process, and of no other.
        old, new: a setting as PARAMS has it, and the same with a place for another value; no training depends on it.
        result: the file, below the study's results, that the value decides.
    """

    command: str
    process: str
    old: str
    new: str
    result: str


DVC = Parent("repro", "dvc repro", "Tiny, seed 0", "Title {}", "report.md")
GRID = Parent("grid", "ssmlab grid", "  seed: 0\nanalyze", "  seed: {}\nanalyze", f"probe/{RUN}.json")


@dataclass
class Pipeline:
    """A project whose commands can be broken.

    Attributes:
        folder: the project.
        library: the compiled inject.c.
        told: the file to which the broken process writes how often such a fault could have happened.
    """

    folder: Path
    library: Path
    told: Path

    def ssmlab(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": f"{ARMED}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1", **variables}
        full = [sys.executable, "-m", "ssmlab", *command]
        return subprocess.run(full, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def run_with_fault(self, parent: Parent, at: int, kind: int) -> subprocess.CompletedProcess[str]:
        """The command, with a fault at the `at`-th place of its kind in its process."""
        faults = {"FAULT_FOLDER": str(self.folder), "FAULT_AT": str(at), "FAULT_KIND": str(kind + 1)}
        told = {"FAULT_TOLD": str(self.told), LIBRARY: str(self.library), "LD_PRELOAD": str(self.library)}
        return self.ssmlab(parent.command, FAULT_PROCESS=parent.process, **faults, **told)

    def change(self, parent: Parent, value: int) -> None:
        """Give the parent's setting another value."""
        params = PARAMS % {"seed": 0}
        assert parent.old in params
        (self.folder / "params.yaml").write_text(params.replace(parent.old, parent.new.format(value)))

    def problems_after(self, parent: Parent, at: int, kind: int, value: int) -> list[str]:
        """What is wrong after a fault, and after a run without a fault that follows it."""
        result = self.folder / "results" / STUDY / parent.result
        self.change(parent, value)
        before = result.read_bytes()
        broken = self.run_with_fault(parent, at, kind)
        peaceful = self.ssmlab(parent.command)
        verified = self.ssmlab("verify")
        printed = peaceful.stdout + peaceful.stderr
        last = (broken.stderr.strip().splitlines() or [""])[-1]
        killed_itself = broken.returncode < 0
        problems = {
            "a traceback": "Traceback" in broken.stdout + broken.stderr,
            f"no error: {last}": broken.returncode > 0 and not last.startswith("error: "),
            f"ended by signal {broken.returncode}": killed_itself and "killed" not in KINDS[kind],
            f"the next run fails: {printed[-500:]}": peaceful.returncode != 0,
            f"trained again: {printed[-500:]}": "python -m ssmlab train" in printed or "epoch" in printed,
            "the result is the old one": result.read_bytes() == before,
            f"damage: {verified.stdout[-500:]}": verified.returncode != 0,
        }
        return [problem for problem, there in problems.items() if there]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The tiny study in a new project, run once."""
    folder = tmp_path_factory.mktemp("parents")
    made = Pipeline(folder / "project", build(folder), folder / "told")
    made.folder.mkdir()
    assert made.ssmlab("new", ".").returncode == 0
    make_tiny_project(made.folder)
    done = made.ssmlab("repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("parent", "fewest"), [(DVC, 100), (GRID, 10)], ids=["dvc", "grid"])
@pytest.mark.parametrize("kinds", [CHANGE_KINDS, READ_KINDS[:1]], ids=["changes", "reads"])
def test_after_any_fault_of_a_parent_the_next_run_succeeds_and_trains_nothing_again(
    parent: Parent, fewest: int, kinds: tuple[str, ...], pipeline: Pipeline
) -> None:
    pipeline.change(parent, 1)
    counted = pipeline.run_with_fault(parent, NEVER, KINDS.index(kinds[0]))
    assert counted.returncode == 0, counted.stdout + counted.stderr
    places = int(pipeline.told.read_text())
    assert places > fewest
    seconds = float(os.environ.get("SSMLAB_FAULT_SECONDS", "20"))
    draw = random.Random(os.environ.get("SSMLAB_FAULT_SEED", "0"))
    began, injected = time.monotonic(), 0
    while injected < LEAST or time.monotonic() - began < seconds:
        at, kind = draw.randint(1, places), KINDS.index(draw.choice(kinds))
        injected += 1
        problems = pipeline.problems_after(parent, at, kind, 1 + injected)
        assert problems == [], f"{KINDS[kind]} at place {at} of {places} of {parent.command}"
    sys.stdout.write(f"{parent.command}: {injected} faults at {places} places\n")
