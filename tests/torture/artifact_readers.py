"""Damaged files of a study for every reader of them: each must be read, or refused in one line, within 2 s of CPU.

A tiny study is trained, attacked, probed and analysed once. Every case damages one of its files, half of them with the
digest made right again so that the damage gets past it, and reads it through the Python interface; some cases also go
through commands and through the follower behind `ssmlab tui`. A case fails if there is a traceback, an error of more
than one printable line, a second process's worth of memory (500 MB), any output, or a file that was not there before.

    python -m tests.torture.artifact_readers --cases 20000 --seed 1
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from typer.testing import CliRunner

from ssmlab.analysis.summary import load_summary
from ssmlab.artifacts.checkpoint import load
from ssmlab.artifacts.heartbeat import read_heartbeat, state_of
from ssmlab.artifacts.history import read_history
from ssmlab.artifacts.manifest import read_manifest, read_published
from ssmlab.cli.app import app
from ssmlab.core.digest import sealed_json
from ssmlab.core.errors import UserError
from ssmlab.core.tensors import DIGEST, NO_DIGEST, read_tensors_file, sealed
from ssmlab.evaluation.results import load_results
from ssmlab.params.paths import Paths
from ssmlab.probes.results import load_probes
from ssmlab.project.history_reader import HistoryReader
from ssmlab.project.params_file import load_params
from ssmlab.stages.train.state_file import KEY, Identity, UnusableState, load_state
from ssmlab.tui.follower import StudyFollower
from ssmlab.tui.preferences import load_keys, load_preferences
from tests.tiny_project import RUN, STUDY, make_tiny_project
from tests.torture.data_readers import CPU_SECONDS, LONGEST_LINE, MEMORY, mutate

BATCH = 250  # cases a process
COMMANDS = (("runs", "--json"), ("alerts", "--json"), ("verify", "--json"), ("compare", RUN, RUN))
HOSTILE: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf")),
    *("", "../../evil", "/etc/passwd", "\x1b[2J", "\ud800", "a\nb", "x" * 100_000, "1e999", "8/255"),
    *([], {}, [[]] * 1000, {"a": {"b": {}}}),
)
KEYS = '[keys]\ncompare = "C"\nquit = "q"\n'


@dataclass(frozen=True)
class Study:
    """The sound study: its folder, the bytes of each file that is damaged, and how each is read."""

    root: Path
    sound: Mapping[str, bytes]
    readers: Mapping[str, Callable[[], object]]


def make_study(root: Path) -> Study:
    """Run the stages in this process, which then has everything imported that its forks need."""
    make_tiny_project(root)
    os.chdir(root)
    with mock.patch("ssmlab.stages.train.live_record.Record.finish", lambda _: None):  # leaves the state behind
        for command in (["prepare"], ["train", RUN], ["attack", RUN], ["probe", RUN], ["analyze"]):
            done = CliRunner().invoke(app, command)
            if done.exit_code:
                raise SystemExit(f"{command}: {done.output}")
    (root / "runs" / "tui.json").write_text(json.dumps({"theme": "nord", "studies": {STUDY: {"pinned": [RUN]}}}))
    (root / "tui.toml").write_text(KEYS)
    readers = readers_of(root)
    study = Study(root, {name: (root / name).read_bytes() for name in readers}, readers)
    for name, reader in readers.items():
        assert reader() is not None, name
    return study


def readers_of(root: Path) -> dict[str, Callable[[], object]]:
    """By file, everything in the Python interface that reads it; the readers never return None."""
    paths = Paths(STUDY, root)
    folder, live = paths.model(RUN), paths.live(RUN)
    best, history, state = folder / "best.safetensors", folder / "history.csv", live / "state.safetensors"
    identity = Identity.model_validate(read_tensors_file(state).metadata_object(KEY)["identity"])

    def heartbeat() -> object:
        found = read_heartbeat(live / "progress.json")
        return state_of(found, time.time()) if found else "unreadable"

    readers: dict[Path, Callable[[], object]] = {
        best: lambda: (load(best), read_published(folder)),
        folder / "manifest.json": lambda: (read_manifest(folder), read_published(folder)),
        history: lambda: (HistoryReader(history).poll(), read_history(history)),
        live / "progress.json": heartbeat,
        state: lambda: load_state(state, identity),
        paths.attack(RUN): lambda: load_results(paths.attack(RUN)),
        paths.probe(RUN): lambda: load_probes(paths.probe(RUN)),
        paths.analysis: lambda: load_summary(paths.analysis),
        root / "params.yaml": lambda: load_params(root / "params.yaml"),
        root / "runs" / "tui.json": lambda: load_preferences(root),
        root / "tui.toml": lambda: load_keys(root / "tui.toml"),
    }
    return {path.relative_to(root).as_posix(): reader for path, reader in readers.items()}


def changed_value(value: Any, draws: random.Random) -> Any:
    """A JSON value with one value somewhere in it replaced, removed or added."""
    if isinstance(value, dict) and value and draws.random() < 0.9:
        key = draws.choice(sorted(value))
        if (what := draws.random()) < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if what < 0.2:
            return {**value, str(draws.choice(HOSTILE))[:80]: draws.choice(HOSTILE)}
        return {**value, key: changed_value(value[key], draws)}
    if isinstance(value, list) and value and draws.random() < 0.9:
        at = draws.randrange(len(value))
        return [*value[:at], changed_value(value[at], draws), *value[at + 1 :]]
    return draws.choice(HOSTILE)


def damaged(name: str, content: bytes, other: bytes, draws: random.Random) -> bytes:
    """The file with random changes, or with one changed value under a digest that is right."""
    try:
        if name.endswith(".json") and draws.random() < 0.5:
            return sealed_json(changed_value(json.loads(content), draws)).encode()
        if name.endswith(".safetensors") and draws.random() < 0.5:
            return resealed(content, draws)
    except (ValueError, TypeError, AttributeError):  # what became of it cannot be written as JSON
        pass
    return mutate(content, other, draws)


def resealed(content: bytes, draws: random.Random) -> bytes:
    """A safetensors file with one changed value in its header or its metadata, and the right digest."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    ((key, metadata),) = header["__metadata__"].items()
    metadata = json.loads(metadata)
    if draws.random() < 0.8:
        metadata = changed_value(metadata, draws)
    else:
        header = changed_value(header, draws)
    text = json.dumps({**metadata, DIGEST: NO_DIGEST}, sort_keys=True, separators=(",", ":"), allow_nan=True)
    header["__metadata__"] = {key: text}
    written = json.dumps(header, separators=(",", ":")).encode()
    return sealed(len(written).to_bytes(8, "little") + written + content[start:])


def outcome(study: Study, name: str, number: int) -> str:
    """`read`, `refused`, or what is wrong with how the damaged file `name` is treated."""
    told = "refused"
    try:
        study.readers[name]()
        told = "read"
    except UnusableState:
        pass
    except UserError as error:
        if not str(error).isprintable() or len(str(error)) > LONGEST_LINE:
            return f"an error that is not one short line: {str(error)[:300]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    if number % 10 == 0:
        command = COMMANDS[number // 10 % len(COMMANDS)]
        done = CliRunner().invoke(app, command)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return f"{' '.join(command)}: {type(done.exception).__name__}: {done.exception}"[:300]
        if any(not line.isprintable() for line in done.output.splitlines()):
            return f"{' '.join(command)} prints {done.output[:300]!r}"
    if number % 10 == 5:
        try:
            StudyFollower(study.root).look(time.time())
        except BaseException as error:
            return f"the follower of the laboratory: {type(error).__name__}: {error}"[:300]
    return told


def files_of(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in root.rglob("*") if path.is_file()}


def run_batch(study: Study, numbers: range, seed: int, said: Path, printed: Path) -> None:
    """Run cases in this forked process and end it; every outcome is a line in `said`, written at once."""
    output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    lines = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    try:
        before = files_of(study.root)
        for number in numbers:
            draws = random.Random(f"{seed} {number}")
            name = draws.choice(sorted(study.sound))
            other = study.sound[draws.choice(sorted(study.sound))]
            path = study.root / name
            path.write_bytes(damaged(name, study.sound[name], other, draws))
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + 1)  # ends this process, as nothing handles its signal
            began = time.process_time()
            told = outcome(study, name, number)
            used = time.process_time() - began
            signal.setitimer(signal.ITIMER_PROF, 0)
            path.write_bytes(study.sound[name])
            if used > CPU_SECONDS:
                told = f"took {used:.1f} s of CPU"
            if printed.stat().st_size:
                told = f"printed {printed.read_bytes()[:200]!r}"
                os.ftruncate(output, 0)
            if (after := files_of(study.root)) != before:
                told = f"left {sorted(str(path) for path, _ in after.items() ^ before.items())}"
                before = after
            os.write(lines, json.dumps([number, name, told]).encode() + b"\n")
    finally:
        os._exit(0)


def torture(cases: int, seed: int, seconds: float) -> dict[str, Any]:
    """Run the cases, or as many as fit into `seconds`."""
    outcomes, by_file, failures = Counter[str](), Counter[str](), list[str]()
    number = 0
    with tempfile.TemporaryDirectory() as work:
        root, said, printed = Path(work, "study").resolve(), Path(work, "said"), Path(work, "printed")
        root.mkdir()
        study = make_study(root)
        began = time.monotonic()
        while number < cases and time.monotonic() - began < seconds:
            batch = range(number, min(cases, number + BATCH))
            child = os.fork()
            if child == 0:
                run_batch(study, batch, seed, said, printed)
            _, status = os.waitpid(child, 0)
            for line in said.read_text().splitlines():
                number, name, told = json.loads(line)
                by_file[name] += 1
                outcomes[told if told in ("read", "refused") else "failed"] += 1
                if told not in ("read", "refused"):
                    failures.append(f"case {number} of seed {seed} ({name}): {told}")
                number += 1
            if os.WIFSIGNALED(status):
                failures.append(f"case {number} of seed {seed}: killed by {signal.Signals(os.WTERMSIG(status)).name}")
                outcomes["failed"] += 1
                number += 1
            for name, content in study.sound.items():  # a killed process has not put its file back
                (root / name).write_bytes(content)
        os.chdir(tempfile.gettempdir())
    return {**outcomes, "cases": sum(outcomes.values()), "by_file": dict(by_file), "failures": failures}


def main() -> None:
    """Print the outcome as JSON; exit code 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    options = parser.parse_args()
    found = torture(options.cases, options.seed, options.seconds)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    main()
