"""Which stages of which runs are out of date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.text import hint, printable
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_command import allow_no_git, dvc_status
from ssmlab.project.dvc_files import check_dvc_reads, dvc_at_work, repair_dvc_files
from ssmlab.project.pipeline import RUN_STAGES


@dataclass(frozen=True)
class GridPlan:
    """The stages to run.

    Attributes:
        prepare: whether the prepared data set is out of date; everything else waits for it.
        stages: for each run with something to do, its stages in order.
    """

    prepare: bool
    stages: Mapping[str, tuple[str, ...]]


def selected_runs(params: Params, names: Sequence[str]) -> list[str]:
    """The runs that `names` mean, groups written out, in the order of params.yaml; all runs if there are no names.

    Raises:
        UserError: a name is neither a run nor a group.
    """
    wanted: set[str] = set()
    for name in names:
        runs = params.runs_named(name)
        if not runs:
            known = hint(name, [*params.runs, *params.groups], "runs and groups")
            raise UserError(f"no run or group '{printable(name, 80)}' in study {params.study} ({known})")
        wanted.update(runs)
    return [run for run in params.runs if not names or run in wanted]


def plan_grid(paths: Paths, runs: Sequence[str], force: bool = False, tell: Listener = silence) -> GridPlan:
    """The stages of `runs` that are out of date according to DVC; all of them with `force`.

    If a full disk or a kill has damaged files of DVC, they are repaired first, and `tell` reports it.

    Raises:
        UserError: DVC refuses, or a damaged file cannot be repaired.
    """
    check_dvc_reads(paths.root / "params.yaml")
    if dvc_at_work(paths.root) is None:
        for repaired in repair_dvc_files(paths.root, paths.study):
            tell(Note(repaired, warning=True))
    allow_no_git(paths.root)
    status = dvc_status(paths.root)
    stages = {}
    for run in runs:
        changed = [stage for stage in RUN_STAGES if force or f"{stage}@{run}" in status]
        if "train" in changed or "prepare" in status:
            changed = list(RUN_STAGES)  # their inputs will change, which DVC cannot know yet
        if changed:
            stages[run] = tuple(changed)
    return GridPlan("prepare" in status, stages)
