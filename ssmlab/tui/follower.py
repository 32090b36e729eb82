"""Reads the files behind the TUI: runs, test results, the launch. Needs neither Textual nor DVC.

A file is read again only if its inode, size or time has changed, so an idle study costs six `stat` calls per run.
"""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from ssmlab.analysis.format import model_label, regime_label
from ssmlab.artifacts.heartbeat import PROBE_PROGRESS
from ssmlab.core.collector import collector_paused
from ssmlab.core.errors import UserError
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.inputs import StudyInputs
from ssmlab.project.launched import Launched, active, record_path
from ssmlab.project.status import RunStatus, RunWatcher, queued_runs
from ssmlab.project.watched_files import FileStamp, WatchedParams, file_stamp
from ssmlab.tui.look import Look, RunView, TestAccuracy

RUNS_AT_ONCE = 40  # new runs that one look reads at most, so that the first screen does not wait for all
RESULTS_AT_ONCE = 40  # result files that one look reads at most, so that the first screen does not wait for all


class RunFollower:
    """Follows the files of one run."""

    def __init__(
        self, name: str, group: str, places: tuple[int, int], params: Params, paths: Paths, inputs: StudyInputs
    ) -> None:
        self.watcher = RunWatcher(name, params, paths, inputs)
        self.regime = regime_label(params.run(name).train)
        self.group, self.places = group, places  # the run's place, and that of its group
        self.results = paths.attack(name)
        live, published = paths.live(name), paths.model(name)
        self.files = [str(live / "progress.json"), str(live / "history.csv"), str(published / "history.csv")]
        self.files.append(str(live / PROBE_PROGRESS))
        self.files.append(str(paths.checkpoint(name, "best")))
        self.seen: tuple[object, ...] | None = None
        self.results_seen: FileStamp = None
        self.view: RunView | None = None
        self.unread = RunView(unread_status(name, params), self.regime, group, *places)

    def look(self, now: float, may_read_results: bool, queued: bool, inputs: tuple[object, ...]) -> RunView:
        """The run at `now`; the same object as last time if nothing has changed.

        Args:
            may_read_results: whether the file of test results may be read in this look.
            queued: whether the running launch will start it.
            inputs: values that identify data and code.
        """
        results_seen = file_stamp(self.results)
        seen = (*map(file_stamp, self.files), results_seen, queued, inputs)
        last = self.view
        status_stands = (
            last is not None
            and seen == self.seen
            and not last.running
            and results_seen == self.results_seen
            and last.status.unread is None
        )
        if last is not None and status_stands:
            return last
        status = self.watcher.poll(now, queued)  # always polled while it runs, because its process may die silently
        self.seen = seen
        tests, warnings = (last.tests, last.warnings) if last is not None else ({}, ())
        results_are_new = results_seen != self.results_seen
        if results_are_new and may_read_results:
            tests, warnings = read_tests(self.results) if results_seen else ({}, ())
            self.results_seen = results_seen
        elif last is not None and not results_are_new and status == last.status:
            return last
        self.view = RunView(status, self.regime, self.group, *self.places, tests, warnings)
        return self.view


def unread_status(name: str, params: Params) -> RunStatus:
    """The status of a run whose files have not been read yet."""
    run = params.run(name)
    unknown: dict[str, Any] = dict.fromkeys(field.name for field in fields(RunStatus))
    known = {"name": name, "model": model_label(run.model), "state": "waiting", "task": "loading ..."}
    return RunStatus(**{**unknown, **known, "epoch": 0, "epochs": run.train.passes, "reasons": (), "rows": ()})


class StudyFollower:
    """Follows params.yaml, its runs and the launch. While params.yaml is not valid, the last valid study is shown.

    Args:
        runs_at_once, results_at_once: the most runs that one look reads for the first time, and the most result files;
            None for all.
    """

    def __init__(
        self, root: Path, runs_at_once: int | None = RUNS_AT_ONCE, results_at_once: int | None = RESULTS_AT_ONCE
    ) -> None:
        self.root = root
        self.study = WatchedParams(root)
        self.shown: str | None = None  # a study of studies/ to look at; None for that of params.yaml
        self.runs_at_once, self.results_at_once = runs_at_once, results_at_once
        self.runs: list[RunFollower] = []
        self.launched: Launched | None = None
        self.dead_launch: FileStamp = None
        self.inputs: StudyInputs | None = None

    @property
    def params(self) -> Params | None:
        return self.study.params

    @property
    def paths(self) -> Paths | None:
        return self.study.paths

    @collector_paused()
    def look(self, now: float) -> Look:
        """The study at `now`, in unix seconds."""
        self.read_params()
        launched, ended = self.look_at_launch()
        queued = queued_runs(self.params, self.paths) if launched is not None else set()
        inputs = self.inputs.seen() if self.inputs is not None else ()
        views: list[RunView] = []
        reads = first_reads = 0
        for run in self.runs:
            if run.view is None and self.runs_at_once is not None and first_reads >= self.runs_at_once:
                views.append(run.unread)
                continue
            first_reads += run.view is None
            before = run.results_seen
            may_read = self.results_at_once is None or reads < self.results_at_once
            views.append(run.look(now, may_read, run.watcher.name in queued, inputs))
            reads += run.results_seen != before
        free, total = disk_space(self.root)
        return Look(
            params=self.params,
            paths=self.paths,
            problem=self.study.problem,
            runs=tuple(views),
            launched=launched,
            ended=ended,
            disk_free=free,
            disk_total=total,
            now=now,
            foreign=self.shown is not None,
            loading=any(run.view is None for run in self.runs),
            data_name=self.inputs.data_name() if self.inputs is not None else None,
        )

    def read_params(self) -> None:
        """Read params.yaml, or the shown study in studies/, if it has changed."""
        self.study.watch(self.root / ("params.yaml" if self.shown is None else f"studies/{self.shown}.yaml"))
        if not self.study.poll() or self.params is None or self.paths is None:
            return
        params, paths = self.params, self.paths
        grouped = {name: group for group, members in params.groups.items() for name in members}
        groups = [grouped.get(name, name) for name in params.runs]
        order = list(dict.fromkeys(groups))
        inputs = self.inputs = StudyInputs(paths)
        self.runs = [
            RunFollower(name, group, (place, order.index(group)), params, paths, inputs)
            for place, (name, group) in enumerate(zip(params.runs, groups, strict=True))
        ]

    def look_at_launch(self) -> tuple[Launched | None, Launched | None]:
        """The running launch, and the one that has ended since the last look."""
        before = self.launched
        if before is not None and before.running:
            return before, None
        self.launched = None
        if self.paths is not None:
            seen = file_stamp(record_path(self.paths))
            if seen is not None and seen != self.dead_launch:
                self.launched = active(self.paths)
                self.dead_launch = seen if self.launched is None else None  # another check would search all processes
        return self.launched, before


def disk_space(folder: Path) -> tuple[int | None, int | None]:
    """The free and all bytes of a folder's file system; None if they are unknown."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None, None
    return usage.free, usage.total


def read_tests(path: Path) -> tuple[dict[str, TestAccuracy], tuple[str, ...]]:
    """The accuracies of the best checkpoint in a result file, and its warnings; an unreadable file is a warning."""
    from ssmlab.evaluation.results import load_results  # imported here: a study without results does not need it

    try:
        checkpoints = load_results(path).checkpoints
    except UserError as error:
        return {}, (str(error),)
    best = checkpoints.get("best")
    measures = best.measures if best is not None else {}
    tests = {name: TestAccuracy(found.accuracy, *found.interval, found.n) for name, found in measures.items()}
    return tests, tuple(f"{which}: {text}" for which, found in checkpoints.items() for text in found.warnings)
