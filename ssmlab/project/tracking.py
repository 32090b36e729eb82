"""Sending the histories of trainings to an experiment tracker. It only reads files, so it cannot break a training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import Field

from ssmlab.artifacts.history import Row
from ssmlab.core.files import write_atomic
from ssmlab.core.json_text import readable_json
from ssmlab.core.validation import read_model
from ssmlab.params import Params, Strict
from ssmlab.params.paths import Paths
from ssmlab.project.inputs import StudyInputs
from ssmlab.project.status import RunWatcher

NOT_SENT = ("epoch", "epochs")  # not sent: `epoch` is the step of every number, and `epochs` is a setting
Numbers = Annotated[tuple[float | None, ...], Field(strict=False)]


class Sink(Protocol):
    """The receiver of the numbers: TensorBoard, W&B, or a list in a test."""

    def add(self, training: str, config: Mapping[str, Any], epoch: int, values: Mapping[str, float]) -> None:
        """Take the numbers of one epoch. `training`: RUN, or RUN-2 for its second training; `config`: its params."""

    def flush(self) -> None:
        """Write what was added, if the sink can do that."""

    def close(self) -> None:
        """Write everything and end."""


class Sent(Strict):
    """What was sent of one run: the number of its trainings so far, and the epochs of the last one."""

    training: int = 1
    epochs: Annotated[tuple[Numbers, ...], Field(strict=False)] = ()


class Memory(Strict):
    """What was sent of every run of a study; kept in a file, so that a new start sends nothing twice."""

    study: str
    runs: dict[str, Sent] = Field(default_factory=dict)


class Tracker:
    """Sends every epoch of every training once.

    A training that continues after it was killed repeats epochs in which only the times differ; they are not sent
    again. A history with other numbers is another training and gets another name.
    """

    def __init__(self, runs: Sequence[str], params: Params, paths: Paths, sink: Sink, memory: Path) -> None:
        """`memory` is the file that records what was sent; raises UserError if it exists and is not valid."""
        inputs = StudyInputs(paths)
        self.watchers = [RunWatcher(run, params, paths, inputs) for run in runs]
        self.sink, self.file = sink, memory
        self.memory = (
            read_model(memory, Memory, "what was sent", "remove its folder to send everything again")
            if memory.exists()
            else Memory(study=paths.study)
        )

    def poll(self) -> int:
        """Send what is new; returns the number of epochs sent.

        It is recorded after the sink has it, so a power cut between the two can send the last epochs twice.
        """
        found = {watcher.name: self.send(watcher) for watcher in self.watchers}
        if any(found.values()):
            self.sink.flush()
            write_atomic(self.file, readable_json(self.memory.model_dump(mode="json")))
        return sum(found.values())

    def send(self, watcher: RunWatcher) -> int:
        """Send what is new of one run; returns the number of epochs sent."""
        rows = watcher.poll(time.time()).rows
        sent = self.memory.runs.get(watcher.name, Sent())
        numbers = tuple(repeatable(row) for row in rows)
        known = min(len(numbers), len(sent.epochs))
        if numbers[:known] != sent.epochs[:known]:
            sent, known = Sent(training=sent.training + 1), 0
        elif known < len(sent.epochs):  # the history was cut, and will repeat what was sent
            return 0
        name = watcher.name if sent.training == 1 else f"{watcher.name}-{sent.training}"
        for row in rows[known:]:
            self.sink.add(name, watcher.params.plain(), row.epoch, sent_values(row))
        self.memory.runs[watcher.name] = Sent(training=sent.training, epochs=numbers)
        return len(rows) - known


def repeatable(row: Row) -> tuple[float | None, ...]:
    """The numbers of an epoch that stay equal when a training repeats the epoch: all except the times."""
    return (row.epoch, row.step, row.train_loss, row.val_clean, row.val_robust)


def sent_values(row: Row) -> dict[str, float]:
    """The numbers of an epoch as a sink gets them: every column of history.csv that has one."""
    return {name: value for name, value in row._asdict().items() if value is not None and name not in NOT_SENT}
