"""Finds out which stages are out of date and why, from a `dvc status --json` process; DVC is never imported."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ssmlab.core.text import listed
from ssmlab.params import Params
from ssmlab.project import dvc_command
from ssmlab.project.dvc_files import dvc_at_work
from ssmlab.project.pipeline import stages_of
from ssmlab.tui.look import Look

PATIENCE = 120.0  # seconds; DVC may take this long to check the files
TRAIN_SHARE = 0.75  # estimated share of training in a run's time; the rest is the attack


@dataclass(frozen=True)
class Reason:
    """Why a stage is out of date: `params train.epochs modified`."""

    kind: str
    what: str
    how: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what} {self.how}".strip()


@dataclass(frozen=True)
class PipelineState:
    """All stages in the order of dvc.yaml, and for those that are out of date the reasons.

    Attributes:
        problem: why DVC could not answer, as one line; None if it could.
    """

    stages: tuple[str, ...]
    changed: Mapping[str, tuple[Reason, ...]]
    problem: str | None = None

    def counted(self) -> str:
        """`train 3, attack 3, analyze and report`: the stages that are out of date."""
        counts = Counter(stage.partition("@")[0] for stage in self.changed)
        return listed(
            f"{stage} {count}" if "@" in first_of(stage, self.changed) else stage for stage, count in counts.items()
        )


def first_of(stage: str, names: Mapping[str, object]) -> str:
    """The first of `names` that belongs to this stage."""
    return next(name for name in names if name.partition("@")[0] == stage)


async def read_stages(params: Params, root: Path) -> tuple[str, ...]:
    """All stages of the study in the order of dvc.yaml; raises UserError if that cannot be read."""
    return tuple(await asyncio.to_thread(stages_of, params, root))


async def ask_dvc(stages: tuple[str, ...], root: Path) -> PipelineState:
    """Ask DVC in another process which of the stages are out of date; this takes some seconds."""
    if holder := dvc_at_work(root):
        return PipelineState(stages, {}, f"DVC is at work; ask again when it has ended: {holder}")
    await asyncio.to_thread(dvc_command.allow_no_git, root)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dvc", "status", "--json"),
            cwd=root,
            env=dvc_command.environment(root),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
    except (OSError, TimeoutError) as error:
        return PipelineState(stages, {}, f"DVC does not answer ({error or 'it takes too long'})")
    try:
        return PipelineState(stages, parse_status(json.loads(output)))
    except ValueError:
        lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "it wrote nothing")
        return PipelineState(stages, {}, f"DVC reports an error: {reason.removeprefix('ERROR: ').strip()}")


def parse_status(value: Any) -> dict[str, tuple[Reason, ...]]:
    """The answer of `dvc status --json` by stage; raises ValueError if it is not such an answer."""
    if not isinstance(value, dict):
        raise ValueError("not a mapping of stages")
    return {str(stage): tuple(reasons(entries)) for stage, entries in value.items()}


def reasons(entries: Sequence[Any]) -> list[Reason]:
    """The reasons of one stage."""
    found: list[Reason] = []
    for entry in entries:
        if isinstance(entry, str):  # `changed command`
            found.append(Reason(entry.removeprefix("changed "), "", "modified"))
            continue
        for kind, changes in entry.items():
            for what, how in changes.items():
                if isinstance(how, dict):  # a params file: its keys name the changed params
                    found += [Reason("params", key, str(change)) for key, change in how.items()]
                else:
                    found.append(Reason(kind_of(kind, what), what, str(how)))
    return found


def kind_of(kind: str, path: str) -> str:
    """`code`, `input` or `output`."""
    if "outs" in kind:
        return "output"
    return "code" if path.startswith("ssmlab") else "input"


def seconds_needed(look: Look, stages: Sequence[str]) -> float | None:
    """The estimated seconds for these stages, from the epochs so far; None if no run has trained yet."""
    known = [row.seconds for view in look.runs for row in view.status.rows[-20:]]
    if not known:
        return None
    usual, total = median(known), 0.0
    for stage in stages:
        name, _, run = stage.partition("@")
        view = look.run(run)
        if view is None:
            continue
        own = [row.seconds for row in view.status.rows[-20:]]
        training = view.status.epochs * (median(own) if own else usual)
        total += training if name == "train" else training * (1 / TRAIN_SHARE - 1)
    return total
