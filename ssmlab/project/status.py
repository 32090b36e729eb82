"""What the files of a study say about its runs: state, progress, accuracies. Reads only; knows no UI and no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmlab.analysis.format import model_label
from ssmlab.artifacts.heartbeat import PROBE_PROGRESS, Heartbeat, Stage, heartbeat_in
from ssmlab.artifacts.history import Row
from ssmlab.artifacts.manifest import MANIFEST
from ssmlab.artifacts.metadata import read_metadata
from ssmlab.core.files import read_file
from ssmlab.core.text import listed
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.history_reader import HistoryReader
from ssmlab.project.inputs import StudyInputs
from ssmlab.project.launched import active
from ssmlab.project.run_state import AT_WORK, Decided, Published, RunState, code_in, decide_state
from ssmlab.project.watched_files import CachedFile


@dataclass(frozen=True)
class RunStatus:
    """One run at one moment.

    Attributes:
        name, model: the run, and its model in a few words (`S4 + AdS (relu)`).
        state: what `decide_state` says.
        reasons: for a changed run, what has changed, such as `train.epochs: 40 (trained with 10)`.
        stage: the stage that the state refers to: "train", "attack" or "probe"; None while it waits.
        task: the current work, or the work at the moment of a kill ("epoch 3/10"), or how it ended; may be empty.
        epoch, epochs: the current or last epoch, and how many there are; 0 before the first.
        clean, robust: validation accuracies in [0, 1] after the latest epoch.
        best_clean, best_robust, best_epoch: accuracies and number of the epoch that the run's rule selects as `best`.
        images_per_second: throughput of the current work, else of the latest epoch.
        eta: seconds to the end of the stage; only while it runs.
        updated: unix seconds of the latest heartbeat or output.
        log: what its stages have written, if there is such a file.
        rows: the history so far, one row per epoch.
        unread: the file that the disk did not give, and why; the state may then be wrong.

    What is not known is None.
    """

    name: str
    model: str
    state: RunState
    reasons: tuple[str, ...]
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
    unread: str | None

    @property
    def at_work(self) -> bool:
        """Whether a stage of the run is running now."""
        return self.state in AT_WORK

    @property
    def stopped_early(self) -> bool:
        """Whether the user has ended its training before the last epoch, even if it was attacked since."""
        return self.state == "stopped" and (self.stage not in ("attack", "probe") or self.epoch < self.epochs)

    @property
    def words(self) -> str:
        """The state for people, in a few words: `stopped early (epoch 3 of 40)`, `changed (train.epochs)`."""
        if self.stopped_early:
            return f"stopped early (epoch {self.epoch} of {self.epochs})"
        if self.state == "changed":
            places = tuple(dict.fromkeys(reason.partition(":")[0] for reason in self.reasons))
            return f"changed ({listed(places[:2])})"
        return self.state


def raw_json(path: Path) -> Any:
    """The value of a JSON file, unchecked."""
    return json.loads(read_file(path))


class RunWatcher:
    """Follows the files of one run. `inputs` are the study's data and code, which its runs share."""

    def __init__(self, name: str, params: Params, paths: Paths, inputs: StudyInputs | None = None) -> None:
        self.name = name
        self.params = params.run(name)
        self.attack_params = params.attack
        self.label = model_label(self.params.model)
        self.progress = CachedFile(paths.live(name) / "progress.json", heartbeat_in)
        self.probe_progress = CachedFile(paths.live(name) / PROBE_PROGRESS, heartbeat_in)
        self.live = HistoryReader(paths.live(name) / "history.csv")
        self.published = HistoryReader(paths.model(name) / "history.csv")
        self.checkpoint = CachedFile(paths.checkpoint(name, "best"), read_metadata)
        self.probes = paths.probe(name)
        self.results = CachedFile(paths.attack(name), raw_json)
        self.inputs = inputs or StudyInputs(paths)
        self.manifest = CachedFile(paths.model(name) / MANIFEST, raw_json)
        self.log = paths.live(name) / "log.txt"

    def poll(self, now: float, queued: bool = False) -> RunStatus:
        """The run's status at `now`, in unix seconds; `queued` if a running pipeline will run it later."""
        beat = latest_beat(self.progress.poll(), self.probe_progress.poll())
        self.live.poll()
        self.published.poll()
        decided = decide_state(
            beat,
            self.published_files(),
            self.params,
            self.attack_params,
            now,
            queued=queued,
            live_rows=self.live.rows,
        )
        return self.status(beat, decided)

    def status(self, beat: Heartbeat | None, decided: Decided) -> RunStatus:
        """What is known about a run in this state."""
        rows = self.live.rows if decided.live else self.published.rows or self.live.rows
        last = rows[-1] if rows else None
        score = self.params.train.selection.score
        best = max(rows, key=lambda row: score(row.val_clean, row.val_robust), default=None)  # the first of equal ones
        at_work = decided.state in AT_WORK
        told = beat if beat is not None and (at_work or decided.live or beat.state != "finished") else None
        training = told if told is not None and told.stage == "train" and decided.live else None
        rate = told.images_per_second if told is not None and at_work else None
        return RunStatus(
            name=self.name,
            model=self.label,
            state=decided.state,
            reasons=decided.reasons,
            stage=stage_of(decided, beat, bool(rows), self.results.path.exists()),
            task=task_of(told),
            epoch=max(last.epoch if last else 0, training.epoch if training else 0),
            epochs=(training.epochs if training else 0) or self.params.train.passes,
            clean=last.val_clean if last else None,
            robust=last.val_robust if last else None,
            best_clean=best.val_clean if best else None,
            best_robust=best.val_robust if best else None,
            best_epoch=best.epoch if best else None,
            images_per_second=rate if rate is not None else (last.images_per_second if last else None),
            eta=beat.eta_seconds if beat is not None and at_work else None,
            updated=beat.time if beat is not None else modified(self.published.path),
            log=self.log if self.log.exists() else None,
            rows=tuple(rows),
            unread=self.unread(),
        )

    def unread(self) -> str | None:
        """The first file that the disk did not give at the last poll, and why; None if it gave all."""
        live = (self.progress, self.probe_progress, self.live)
        files = (*live, self.published, self.checkpoint, self.results, self.manifest, self.inputs.prepared)
        return next((file.problem for file in files if file.problem), None)

    def published_files(self) -> Published:
        """What the published files of the run say."""
        results = self.results.poll()
        return Published(
            rows=self.published.rows,
            checkpoint=self.checkpoint.poll(),
            attack=results if isinstance(results, dict) else None,
            trained_at=modified(self.published.path),
            attacked_at=modified(self.results.path),
            probed_at=modified(self.probes),
            trained_code=code_in(self.manifest.poll()),
            data_now=self.inputs.data(),
            train_code_now=self.inputs.code("train"),
            attack_code_now=self.inputs.code("attack"),
        )


def latest_beat(main: Heartbeat | None, probe: Heartbeat | None) -> Heartbeat | None:
    """The heartbeat that decides the state: the probe's, if the probe runs or broke off, unless the other is newer."""
    if probe is None or probe.state == "finished" or (main is not None and main.time > probe.time):
        return main
    return probe


def task_of(beat: Heartbeat | None) -> str:
    """What a heartbeat says about the current work, or how it ended; empty without a heartbeat."""
    if beat is None:
        return ""
    return beat.message or (beat.task if beat.state == "running" else "")


def stage_of(decided: Decided, beat: Heartbeat | None, has_rows: bool, attacked: bool) -> Stage | None:
    """The stage that a state refers to; None if nothing has started."""
    if decided.state in ("waiting", "queued") and not has_rows:
        return None
    if beat is not None and decided.state not in ("trained", "finished", "changed", "queued"):
        return beat.stage
    if not has_rows:
        return None
    return "attack" if attacked else "train"


def queued_runs(params: Params | None, paths: Paths | None) -> set[str]:
    """The runs that the running pipeline was launched for: those of its targets, or all if it has none."""
    launched = active(paths) if paths is not None else None
    if params is None or launched is None:
        return set()
    named = [params.runs_named(target.partition("@")[2] or target) for target in launched.targets]
    # A stage without a run, such as `report`, needs all of them.
    return {run for runs in named for run in runs} if named and all(named) else set(params.runs)


def modified(path: Path) -> float | None:
    """When a file last changed, in unix seconds; None if there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
