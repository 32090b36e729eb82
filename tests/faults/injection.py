"""The project whose stages are run with faults: made once, broken in forked processes, and compared afterwards."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from typer.main import get_command

from ssmlab.cli.app import app
from tests.faults.inject_library import KINDS, LIBRARY, NEVER
from tests.faults.outcomes import Ended, Files, files_below, is_one_of, matching, wrong_message, wrong_mixture
from tests.faults.stages import GRID, STAGES, TRAINED, Stage
from tests.tiny_project import PARAMS, RUN, STUDY, save_images

SECONDS = 300  # after which a stage is taken to hang
TOLD = 8 + 4096  # bytes: how often the fault could have happened, and the file whose read failed


@dataclass
class Harness:
    """Injects faults into the commands of one project.

    Attributes:
        work: an empty folder; its `project` is the one that breaks.
        before: by stage, a copy of the project in which the stage is about to replace the outputs of older params.
        after: by stage, the files once it has.
        places: by stage, for each of KINDS, how often such a fault can happen in it.
        injected: how many faults have happened so far.
    """

    work: Path
    before: dict[str, Path] = field(default_factory=dict)
    after: dict[str, Files] = field(default_factory=dict)
    places: dict[str, list[int]] = field(default_factory=dict)
    injected: int = 0

    def __post_init__(self) -> None:
        self.project = self.work / "project"
        self.library = ctypes.CDLL(os.environ[LIBRARY])
        self.library.fault_struck.restype = ctypes.c_char_p
        self.command = get_command(app)  # once: Typer reads the signatures of all commands for it
        self.told = mmap.mmap(-1, TOLD)  # shared with the forked processes, which tell in it what happened

    def make_project(self) -> None:
        """The tiny study with all outputs of its old params, and before each stage of the new ones."""
        (self.project / "studies").mkdir(parents=True)
        save_images(self.project)
        params = self.project / "params.yaml"
        other = (PARAMS % {"seed": 5}).replace("study: tiny", "study: other")
        (self.project / "studies" / "other.yaml").write_text(other)
        for seed in (0, 1):
            params.write_text(PARAMS % {"seed": seed})
            (self.project / "studies" / f"{STUDY}.yaml").write_text(PARAMS % {"seed": seed})
            (self.project / "dvc.lock").write_text("schema: '2.0'\nstages: {}  # as DVC left it\n")
            for stage in STAGES if seed else [each for each in STAGES if each.name not in (GRID, "use")]:
                if seed:
                    self.before[stage.name] = self.work / f"before {stage.name}"
                    shutil.copytree(self.project, self.before[stage.name])
                # in this process: what it imports and remembers, the forked ones have already
                if self.run_here(stage, NEVER, 0):
                    raise SystemExit(f"{stage.name} fails without any fault")
                self.places[stage.name] = [self.library.fault_count(kind + 1) for kind in range(len(KINDS))]
                self.after[stage.name] = files_below(self.project)
                if stage.name == GRID:
                    self.restore(stage)  # for the stages alone

    def run(self, stage: Stage, at: int = NEVER, kind: int = 0) -> Ended:
        """Run the command of a stage in a forked process, with a fault at the `at`-th place of its kind."""
        log = self.work / "log"
        self.told[:] = NEVER.to_bytes(8, "little").ljust(TOLD, b"\0")
        child = os.fork()
        if child == 0:
            self.run_in_child(stage, at, kind, log)
        deadline = time.monotonic() + SECONDS
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGABRT)
            time.sleep(0.002)
        count, struck = int.from_bytes(self.told[:8], "little"), self.told[8:].rstrip(b"\0").decode()
        return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"), count, struck)

    def run_in_child(self, stage: Stage, at: int, kind: int, log: Path) -> NoReturn:
        code = 70
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code = self.run_here(stage, at, kind)
            told: bytes = self.library.fault_count(kind + 1).to_bytes(8, "little") + self.library.fault_struck()
            self.told[: len(told)] = told
        except BaseException:
            self.library.fault_disarm()
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def run_here(self, stage: Stage, at: int, kind: int) -> int:
        """Run the command of a stage in this process; its exit code."""
        os.chdir(self.project)
        sys.argv = ["ssmlab", *stage.command]
        self.library.fault_arm(str(self.project).encode(), at, kind + 1)
        try:
            self.command(list(stage.command))
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        self.library.fault_disarm()
        return code if isinstance(code, int) else 1

    def inject(self, stage: Stage, faults: Sequence[tuple[int, int]]) -> Iterator[str]:
        """Break the runs of a stage at these (place, kind), one after the other, then run it without a fault.

        Yields what is wrong. A run that succeeds in spite of its fault is followed by one over the old outputs.
        """
        self.restore(stage)
        before = files_below(self.project)
        for at, kind in faults:
            ended = self.run(stage, at, kind)
            self.injected += ended.places >= at
            yield from wrong_message(ended)
            yield from self.wrong_files(stage, before, ended)
            if ended.code == 0:
                self.restore(stage)
        ended = self.run(stage)
        if ended.code:
            yield f"the next run fails: {ended.output[-300:]!r}"
            return
        found, expected = files_below(self.project), self.after[stage.name]
        for name in matching(expected, stage.outputs):
            if name not in found or not is_one_of(name, found[name], [expected]):
                yield f"the next run does not leave the new {name}"
        if left := [name for name in found if name.endswith(".tmp")]:
            yield f"left behind after the next run: {left}"

    def restore(self, stage: Stage) -> None:
        """The project as it is before the stage."""
        shutil.rmtree(self.project, ignore_errors=True)
        shutil.copytree(self.before[stage.name], self.project)

    def wrong_files(self, stage: Stage, before: Files, ended: Ended) -> Iterator[str]:
        """The files that are neither old nor new after a run with a fault."""
        found, after = files_below(self.project), self.after[stage.name]
        outputs = matching({**before, **after}, stage.outputs).keys()
        for name in outputs:
            if name in found and not is_one_of(name, found[name], [before, after]):
                yield f"{name} is neither the old nor the new one"
            if name not in found and name in before and name in after:
                yield f"{name} is gone"
            if ended.code == 0 and not (name in found and is_one_of(name, found[name], [after])) and name in after:
                yield f"the run says that all is well, and {name} is not the new one"
        for name in before.keys() - outputs:
            if not name.startswith("runs/") and found.get(name) != before[name]:
                yield f"{name} has changed, which is no output of {stage.name}"
        if TRAINED in stage.outputs:
            yield from wrong_mixture(self.project / "models" / STUDY / RUN, before, after)
