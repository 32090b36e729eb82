"""TensorBoard and W&B as sinks of `ssmlab track`; each is an optional package, imported when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssmlab.core.optional_packages import required
from ssmlab.project.study_changes import flat
from ssmlab.project.tracking import Sink


def open_sink(kind: str, folder: Path, study: str) -> Sink:
    """The sink of this kind (`tensorboard` or `wandb`), writing to `folder`; raises UserError if it is missing."""
    return TensorBoardSink(folder) if kind == "tensorboard" else WandbSink(folder, study)


class TensorBoardSink:
    """Event files in FOLDER/TRAINING, one scalar per column; the params are hyperparameters (the tab HPARAMS)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = required("tensorboard.summary.writer.event_file_writer", "tensorboard")
        self.protos = required("tensorboard.compat.proto.event_pb2", "tensorboard")
        self.summaries = required("tensorboard.compat.proto.summary_pb2", "tensorboard")
        self.hparams = required("tensorboard.plugins.hparams.summary_v2", "tensorboard")
        self.writers: dict[str, Any] = {}

    def add(self, training: str, config: Mapping[str, Any], epoch: int, values: Mapping[str, float]) -> None:
        """Write one epoch; scalars are float32 there."""
        if training not in self.writers:
            self.writers[training] = self.events.EventFileWriter(str(self.folder / training))
            if epoch == 1:
                summary = self.hparams.hparams_pb(flat(config), trial_id=training)
                self.writers[training].add_event(self.protos.Event(summary=summary))
        found = [self.summaries.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        event = self.protos.Event(step=epoch, summary=self.summaries.Summary(value=found))
        self.writers[training].add_event(event)

    def flush(self) -> None:
        """Write what is still queued."""
        for writer in self.writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self.writers.values():
            writer.close()


class WandbSink:
    """Runs of W&B in FOLDER, offline unless WANDB_MODE says otherwise; `wandb sync` uploads them."""

    def __init__(self, folder: Path, study: str) -> None:
        self.wandb = required("wandb", "wandb")
        self.folder, self.study = folder, study
        self.runs: dict[str, Any] = {}

    def add(self, training: str, config: Mapping[str, Any], epoch: int, values: Mapping[str, float]) -> None:
        """Log one epoch as one step."""
        if training not in self.runs:
            mode = os.environ.get("WANDB_MODE", "offline")
            self.runs[training] = self.wandb.init(
                project=f"ssmlab-{self.study}",
                name=training,
                id=f"{self.study}-{training}",  # so that a new start of `ssmlab track` continues it
                resume="allow" if mode == "online" else None,
                dir=str(self.folder),
                config=dict(config),
                mode=mode,
                reinit="create_new",
                settings=self.wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )
        self.runs[training].log(dict(values), step=epoch)

    def flush(self) -> None:
        """Nothing: W&B writes in the background."""

    def close(self) -> None:
        """End every run; then everything is on disk."""
        for run in self.runs.values():
            run.finish()
