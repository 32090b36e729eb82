"""What the files of a study say about its runs: state, progress, accuracies. Reads only; knows no UI and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssmlab.analysis.format import model_label
from ssmlab.artifacts import heartbeat
from ssmlab.artifacts.heartbeat import Heartbeat, Stage, read_heartbeat, state_of
from ssmlab.artifacts.history import HistoryReader, Row
from ssmlab.core.errors import UserError
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params

State = Literal["waiting"] | heartbeat.State


@dataclass(frozen=True)
class RunStatus:
    """One run at one moment.

    Attributes:
        name, model: the run, and its model in a few words (`S4 + AdS (relu)`).
        state: "waiting" if there is nothing of it yet, else what `state_of` derives from its heartbeat.
        stage: the stage the state is about: "train" or "attack"; None while it waits.
        task: what is (or was, when killed) being done, "epoch 3/10", or in one line how it ended; may be empty.
        epoch, epochs: the epoch under way or the last one, of how many; 0 before the first.
        clean, robust: validation accuracies in [0, 1] after the latest epoch.
        best_clean, best_robust, best_epoch: the same of the epoch that the run's own rule makes the `best` checkpoint.
        images_per_second: throughput of the work under way, else of the latest epoch.
        eta: seconds to the end of the stage; only while it runs.
        updated: unix seconds of the latest sign of life.
        log: what its stages have written, if there is such a file.
        rows: the history so far, one row an epoch.

    What is not known is None.
    """

    name: str
    model: str
    state: State
    stage: Stage | None
    task: str
    epoch: int
    epochs: int
    clean: float | None
    robust: float | None
    best_clean: float | None
    best_robust: float | None
    best_epoch: int | None
    images_per_second: float | None
    eta: float | None
    updated: float | None
    log: Path | None
    rows: tuple[Row, ...]

    @property
    def word(self) -> str:
        """The state in one word for people; a finished training and a finished attack are told apart."""
        words = {("running", "train"): "training", ("running", "attack"): "attacking", ("finished", "train"): "trained"}
        return words.get((self.state, self.stage or ""), self.state)


class RunWatcher:
    """Follows the files of one run."""

    def __init__(self, name: str, params: Params, paths: Paths) -> None:
        self.name = name
        self.label = model_label(params.run(name).model)
        self.epochs = params.run(name).train.passes
        self.selection = params.run(name).train.selection
        self.progress = paths.live(name) / "progress.json"
        self.live = HistoryReader(paths.live(name) / "history.csv")
        self.published = HistoryReader(paths.model(name) / "history.csv")
        self.results = paths.attack(name)
        self.log = paths.live(name) / "log.txt"

    def poll(self, now: float) -> RunStatus:
        """The run's status at `now`, in unix seconds."""
        beat = read_heartbeat(self.progress)
        rows = self.history(beat)
        last = rows[-1] if rows else None
        score = self.selection.score
        best = max(rows, key=lambda row: score(row.val_clean, row.val_robust), default=None)  # of equals the first
        running = beat is not None and state_of(beat, now) == "running"
        training = beat if beat is not None and beat.stage == "train" else None
        rate = beat.images_per_second if beat is not None and running else None
        return RunStatus(
            name=self.name,
            model=self.label,
            state=self.state(beat, rows, now),
            stage=self.stage(beat, rows),
            task=(beat.message or (beat.task if beat.state == "running" else "")) if beat is not None else "",
            epoch=max(last.epoch if last else 0, training.epoch if training else 0),
            epochs=(training.epochs if training else 0) or self.epochs,
            clean=last.val_clean if last else None,
            robust=last.val_robust if last else None,
            best_clean=best.val_clean if best else None,
            best_robust=best.val_robust if best else None,
            best_epoch=best.epoch if best else None,
            images_per_second=rate if rate is not None else (last.images_per_second if last else None),
            eta=beat.eta_seconds if beat is not None and running else None,
            updated=beat.time if beat is not None else modified(self.published.path),
            log=self.log if self.log.exists() else None,
            rows=tuple(rows),
        )

    def history(self, beat: Heartbeat | None) -> list[Row]:
        """The live history; without one the published one, unless a new training has just begun."""
        self.live.poll()
        self.published.poll()
        begun = beat is not None and beat.stage == "train"
        return self.live.rows if self.live.rows or begun else self.published.rows

    def state(self, beat: Heartbeat | None, rows: list[Row], now: float) -> State:
        """What the heartbeat says; without one, finished if results are published, and stale if only traces are."""
        if beat is not None:
            return state_of(beat, now)
        if self.published.rows:
            return "finished"
        return "stale" if rows else "waiting"

    def stage(self, beat: Heartbeat | None, rows: list[Row]) -> Stage | None:
        """The stage the state is about."""
        if beat is not None:
            return beat.stage
        if not rows:
            return None
        return "attack" if self.results.exists() else "train"


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment.

    Attributes:
        params, paths: the study, as it could last be read; None if it never could.
        problem: why params.yaml cannot be read now, in one line; None if it can.
        runs: one status a run, in the order of params.yaml.
    """

    params: Params | None
    paths: Paths | None
    problem: str | None
    runs: tuple[RunStatus, ...]


class StudyWatcher:
    """Follows params.yaml and every run of it. A params.yaml that breaks leaves the last good study standing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.params: Params | None = None
        self.paths: Paths | None = None
        self.problem: str | None = None
        self.watchers: list[RunWatcher] = []
        self._seen: tuple[int, int, int] | str = ""

    def poll(self, now: float) -> Snapshot:
        """The study at `now`, in unix seconds."""
        self._read_params()
        return Snapshot(self.params, self.paths, self.problem, tuple(watcher.poll(now) for watcher in self.watchers))

    def _read_params(self) -> None:
        path = self.root / "params.yaml"
        seen = identity(path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            params = load_params(path)
        except UserError as error:
            self.problem = str(error)
            return
        self.params, self.problem = params, None
        self.paths = paths = Paths(params.study, self.root)
        self.watchers = [RunWatcher(name, params, paths) for name in params.runs]


def run_statuses(params: Params, paths: Paths, now: float) -> list[RunStatus]:
    """Every run of the study once, in the order of params.yaml; `now` in unix seconds."""
    return [RunWatcher(name, params, paths).poll(now) for name in params.runs]


def identity(path: Path) -> tuple[int, int, int] | str:
    """Something that changes when the file does; "missing" if there is none."""
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return status.st_ino, status.st_size, status.st_mtime_ns


def modified(path: Path) -> float | None:
    """When a file last changed, in unix seconds; None if there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
