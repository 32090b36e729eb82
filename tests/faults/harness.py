"""Every change that a stage makes to the disk fails once, in every way: `python -m tests.faults.harness`.

A C library that is loaded before all others (inject.c) fails the n-th change below the project's folder, or kills the
process there. For each stage of a tiny study, each n and each kind of fault, a forked process runs the stage as the CLI
does, over the outputs of an earlier run with other params. Afterwards

- the message is one line, and no traceback;
- every output is the old or the new one, byte for byte, or is refused when it is read; all other files are untouched;
- the same command then succeeds and leaves the new outputs, and no temporary file.

Costly computations that touch no file (attacks, figures) are done once and repeated from memory. A folder in memory
(TMPDIR=/dev/shm) spares the time of real syncs.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import gc
import hashlib
import itertools
import json
import mmap
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from typer.main import get_command

from ssmlab.artifacts import provenance
from ssmlab.artifacts.manifest import read_published
from ssmlab.cli.app import app
from ssmlab.core.errors import UserError
from ssmlab.stages import probe as probe_stage
from ssmlab.stages import report as report_stage
from ssmlab.stages.attack import stage as attack_stage
from tests.tiny_project import PARAMS, RUN, STUDY, save_images

LIBRARY = "SSMLAB_FAULTS"  # the environment variable that names the library, which LD_PRELOAD loads
SOURCE = Path(__file__).with_name("inject.c")
KINDS = ("no space once", "EIO once", "short write, then full", "full", "EIO", "killed", "killed in a write")
NEVER = 10**9
TOGETHER = 8  # faults, one after the other, before the run that must succeed
LEAST = 24  # injections, however slow the machine is
SECONDS = 300  # after which a stage is taken to hang

COSTLY = (
    (attack_stage, "evaluate_models"),
    (probe_stage, "probe_model"),
    (report_stage, "compose"),
    (report_stage, "write_html"),
    (report_stage, "write_markdown"),
    (provenance, "git_state"),
)


@dataclass(frozen=True)
class Stage:
    """A command, and the files it writes, as patterns below the project's folder."""

    name: str
    command: tuple[str, ...]
    outputs: tuple[str, ...]


TRAINED, ATTACKED, PROBED = f"models/{STUDY}/{RUN}/*", f"results/{STUDY}/attack/*", f"results/{STUDY}/probe/*"
GRID = "job of grid"
STAGES = (
    Stage("prepare", ("prepare",), ("data/*",)),
    Stage(GRID, ("run-stages", RUN, "train", "attack", "probe"), (TRAINED, ATTACKED, PROBED)),
    Stage("train", ("train", RUN), (TRAINED,)),
    Stage("attack", ("attack", RUN), (ATTACKED,)),
    Stage("probe", ("probe", RUN), (PROBED,)),
    Stage(
        "analyze",
        ("analyze",),
        (f"results/{STUDY}/analysis/*", f"results/{STUDY}/metrics.json", f"results/{STUDY}/plots/*/*"),
    ),
    Stage(
        "report",
        ("report",),
        (
            f"results/{STUDY}/report.*",
            f"results/{STUDY}/study.yaml",
            f"results/{STUDY}/figures/*",
            f"results/{STUDY}/tables/*",
        ),
    ),
    Stage("use", ("use", "other"), ("params.yaml", "dvc.lock", "runs/*/dvc.lock")),
)

Files = dict[str, bytes]


def files_below(folder: Path) -> Files:
    """The bytes of every file, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def matching(files: Files, patterns: Sequence[str]) -> Files:
    return {name: content for name, content in files.items() if any(Path(name).match(each) for each in patterns)}


def timeless(name: str, content: bytes) -> bytes:
    """What two equal runs of a stage have in common: not the times of a history, nor the hash of one in a manifest."""
    if name.endswith("history.csv"):
        rows = [line.split(",") for line in content.decode().splitlines()]
        return "\n".join(",".join(row[:7] + row[9:]) for row in rows).encode() + content[-1:]
    if name.endswith("manifest.json"):
        document = json.loads(content)
        return json.dumps({**document, "digest": "", "files": {**document["files"], "history.csv": ""}}).encode()
    return content


def is_one_of(name: str, content: bytes, versions: Sequence[Files]) -> bool:
    """Whether a file is, byte for byte apart from times, what one of the versions has."""
    try:
        return any(name in each and timeless(name, content) == timeless(name, each[name]) for each in versions)
    except (ValueError, KeyError, IndexError):
        return False


@dataclass
class Ended:
    """How a process ended: its exit code (negative: a signal), what it wrote to stdout and stderr, and its changes.

    `changes` is how many changes of the disk it made; the default is that of a killed process, which could not tell.
    """

    code: int
    output: str
    changes: int = NEVER


@dataclass
class Harness:
    """Injects faults into the commands of one project.

    Attributes:
        work: an empty folder; its `project` is the one that breaks.
        before: by stage, a copy of the project in which the stage is about to replace the outputs of older params.
        after: by stage, the files once it has.
        changes: by stage, how many changes of the disk it makes.
        injected: how many faults have happened so far.
    """

    work: Path
    before: dict[str, Path] = field(default_factory=dict)
    after: dict[str, Files] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    injected: int = 0

    def __post_init__(self) -> None:
        self.project = self.work / "project"
        self.library = ctypes.CDLL(os.environ[LIBRARY])
        self.command = get_command(app)  # once: Typer reads the signatures of all commands for it
        self.told = mmap.mmap(-1, 8)  # shared with the forked processes: how many changes of the disk they made

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
            (self.project / "dvc.lock").write_text("# as DVC left it\nschema: '2.0'\nstages: {}\n")
            for stage in STAGES if seed else [each for each in STAGES if each.name not in (GRID, "use")]:
                if seed:
                    self.before[stage.name] = self.work / f"before {stage.name}"
                    shutil.copytree(self.project, self.before[stage.name])
                # in this process: what it imports and remembers, the forked ones have already
                code, self.changes[stage.name] = self.run_here(stage, NEVER, 0)
                if code:
                    raise SystemExit(f"{stage.name} fails without any fault")
                self.after[stage.name] = files_below(self.project)
                if stage.name == GRID:
                    self.restore(stage)  # for the stages alone

    def run(self, stage: Stage, at: int = NEVER, kind: int = 0) -> Ended:
        """Run the command of a stage in a forked process, with a fault at the `at`-th change of the disk."""
        log = self.work / "log"
        self.told[:] = NEVER.to_bytes(8, "little")
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
        changes = int.from_bytes(self.told[:], "little")
        return Ended(os.waitstatus_to_exitcode(status), log.read_text(errors="replace"), changes)

    def run_in_child(self, stage: Stage, at: int, kind: int, log: Path) -> NoReturn:
        code = 70
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code, changes = self.run_here(stage, at, kind)
            self.told[:] = changes.to_bytes(8, "little")
        except BaseException:
            self.library.fault_disarm()
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def run_here(self, stage: Stage, at: int, kind: int) -> tuple[int, int]:
        """Run the command of a stage in this process; its exit code, and how many changes of the disk it made."""
        os.chdir(self.project)
        sys.argv = ["ssmlab", *stage.command]
        self.library.fault_arm(str(self.project).encode(), at, kind + 1)
        try:
            self.command(list(stage.command))
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        return code if isinstance(code, int) else 1, self.library.fault_disarm()

    def inject(self, stage: Stage, faults: Sequence[tuple[int, int]]) -> Iterator[str]:
        """Break the runs of a stage at these (change, kind), one after the other, then run it in peace.

        Yields what is wrong. A run that succeeds in spite of its fault is followed by one over the old outputs.
        """
        self.restore(stage)
        before = files_below(self.project)
        for at, kind in faults:
            ended = self.run(stage, at, kind)
            self.injected += ended.changes >= at
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
        """What is neither old nor new after a run with a fault."""
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


def wrong_mixture(folder: Path, before: Files, after: Files) -> Iterator[str]:
    """A run's folder that is read without an error must be that of one training."""
    try:
        _, contents = read_published(folder)
    except UserError:
        return
    names = [name for name in contents if name.endswith(".safetensors")]
    for version in (before, after):
        if all(contents[name] == version[f"models/{STUDY}/{RUN}/{name}"] for name in names):
            return
    yield "best and last of two trainings are read as one"


def wrong_message(ended: Ended) -> Iterator[str]:
    """What is wrong with how a run ended that had a fault; nothing if it was killed."""
    if ended.code == -signal.SIGKILL:
        return
    if ended.code < 0:
        yield f"ended by signal {-ended.code}: {ended.output[-300:]!r}"
    errors = [line for line in ended.output.splitlines() if line.startswith("error: ")]
    if "Traceback" in ended.output or (ended.code and (len(errors) != 1 or len(errors[0]) > 700)):
        yield f"not one line (exit code {ended.code}): {ended.output[-1500:]!r}"


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A pure function whose last result in this process is given again in forked ones.

    Of its arguments only texts and whole numbers are looked at: the others follow from the files before the stage.
    """
    here, kept = os.getpid(), dict[tuple[Any, ...], Any]()

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        key = tuple(each for each in arguments if isinstance(each, (str, int)))
        if os.getpid() == here:
            kept[key] = function(*arguments, **named)
        return kept[key]

    return call


def sweep(
    harness: Harness, names: Sequence[str], seconds: float, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Inject until the time is over: first every change once with every kind, then faults at random.

    Each command is broken `TOGETHER` times, one time after the other, before it is run in peace.
    """
    draw, began = random.Random(seed), time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    stages = [stage for stage in STAGES if stage.name in names]
    every = {
        stage: [(at, kind) for at in range(1, harness.changes[stage.name] + 1) for kind in range(len(KINDS))]
        for stage in stages
    }
    for faults in every.values():
        draw.shuffle(faults)
    once = [
        (stage, faults[i : i + TOGETHER]) for stage, faults in every.items() for i in range(0, len(faults), TOGETHER)
    ]
    draw.shuffle(once)

    def again() -> Iterator[tuple[Stage, list[tuple[int, int]]]]:
        while True:
            stage = draw.choice(stages)
            yield stage, draw.sample(every[stage], TOGETHER)

    for stage, faults in itertools.chain(once, again()):
        if time.monotonic() - began > seconds and counts["commands"] >= LEAST:
            break
        counts[stage.name] += len(faults)
        counts["commands"] += 1
        for problem in harness.inject(stage, faults):
            where = ", then ".join(f"{KINDS[kind]} at change {at}" for at, kind in faults)
            tell(f"{stage.name}: {where}: {problem}")
            failures.append({"stage": stage.name, "faults": faults, "problem": problem})
    total = sum(map(len, every.values()))
    return {"injections": harness.injected, "counts": dict(counts), "changes": harness.changes, "all": total} | {
        "failures": failures
    }


def tell(line: str) -> None:
    """A line on stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def build(folder: Path) -> Path:
    """Compile the library; raises FileNotFoundError where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc)")
    library = folder / f"inject-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def main() -> int:
    """Run the harness; the exit code is 1 if anything was wrong."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--stages", nargs="*", default=[stage.name for stage in STAGES])
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ssmlab-faults-") as folder:
        if LIBRARY not in os.environ:
            library = str(build(Path(folder)))
            environment = {**os.environ, LIBRARY: library, "LD_PRELOAD": library, "OMP_NUM_THREADS": "1"}
            return subprocess.run(
                [sys.executable, "-m", "tests.faults.harness", *sys.argv[1:]], env=environment
            ).returncode
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # one core: the stages start no workers
        for module, name in COSTLY:
            setattr(module, name, remembered(getattr(module, name)))
        harness = Harness(Path(folder).resolve())
        harness.make_project()
        gc.collect()
        gc.freeze()  # a collection in a forked process would copy every page that the two share
        tell(f"changes of the disk: {harness.changes}")
        found = sweep(harness, chosen.stages, chosen.seconds, chosen.seed, tell)
        sys.stdout.write(json.dumps(found) + "\n")
        return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
