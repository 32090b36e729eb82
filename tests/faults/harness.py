"""Every change and read of the disk by a stage fails once, in every way: `python -m tests.faults.harness`.

A C library that is loaded before all others (inject.c) fails the n-th change or read below the project's folder, or
kills the process there. For each stage of a tiny study, each n and each kind of fault, a forked process runs the stage
as the CLI does, over the outputs of an earlier run with other params. Afterwards

- the message is one line, and no traceback; if a read failed, it names the file;
- every output is the old or the new one, byte for byte, or is refused when it is read; all other files are untouched;
- the same command then succeeds and leaves the new outputs, and no temporary file.

Costly computations that touch no file (attacks, figures) are done once and repeated from memory. A folder in memory
(TMPDIR=/dev/shm) spares the time of real syncs.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ssmlab.artifacts import provenance
from ssmlab.stages import probe as probe_stage
from ssmlab.stages import report as report_stage
from ssmlab.stages.attack import stage as attack_stage
from tests.faults.inject_library import CHANGE_KINDS, KINDS, LIBRARY, READ_KINDS, build
from tests.faults.injection import Harness
from tests.faults.stages import STAGES, Stage

TOGETHER = 8  # faults, one after the other, before the run that must succeed
LEAST = 24  # injections, however slow the machine is

FAULTS = {"all": KINDS, "changes": CHANGE_KINDS, "reads": READ_KINDS}

COSTLY = (
    (attack_stage, "evaluate_models"),
    (probe_stage, "probe_model"),
    (report_stage, "compose"),
    (report_stage, "write_html"),
    (report_stage, "write_markdown"),
    (provenance, "git_state"),
)


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
    harness: Harness, names: Sequence[str], kinds: Sequence[str], seconds: float, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Inject until the time is over: first each kind once at all its places, then faults at random.

    Each command is broken `TOGETHER` times, one time after the other, before it runs without a fault.
    """
    draw, began = random.Random(seed), time.monotonic()
    counts: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    every = {
        stage: [(at, kind) for kind in map(KINDS.index, kinds) for at in range(1, harness.places[stage.name][kind] + 1)]
        for stage in STAGES
        if stage.name in names
    }
    stages = [stage for stage, faults in every.items() if faults]
    for faults in every.values():
        draw.shuffle(faults)
    once = [
        (stage, faults[i : i + TOGETHER]) for stage, faults in every.items() for i in range(0, len(faults), TOGETHER)
    ]
    draw.shuffle(once)

    def again() -> Iterator[tuple[Stage, list[tuple[int, int]]]]:
        while True:
            stage = draw.choice(stages)
            yield stage, draw.sample(every[stage], min(TOGETHER, len(every[stage])))

    for stage, faults in itertools.chain(once, again()):
        if time.monotonic() - began > seconds and counts["commands"] >= LEAST:
            break
        counts[stage.name] += len(faults)
        counts["commands"] += 1
        for problem in harness.inject(stage, faults):
            where = ", then ".join(f"{KINDS[kind]}, place {at}" for at, kind in faults)
            tell(f"{stage.name}: {where}: {problem}")
            failures.append({"stage": stage.name, "faults": faults, "problem": problem})
    total = sum(map(len, every.values()))
    return {"injections": harness.injected, "counts": dict(counts), "places": harness.places, "all": total} | {
        "failures": failures
    }


def tell(line: str) -> None:
    """A line on stderr, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> int:
    """Run the harness; the exit code is 1 if anything was wrong."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--stages", nargs="*", default=[stage.name for stage in STAGES])
    options.add_argument("--only", choices=FAULTS, default="all")
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
        tell(f"places of each kind of fault: {harness.places}")
        found = sweep(harness, chosen.stages, FAULTS[chosen.only], chosen.seconds, chosen.seed, tell)
        sys.stdout.write(json.dumps(found) + "\n")
        return 1 if found["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
