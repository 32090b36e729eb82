"""The inputs of the stages after a training: both checkpoints of a run, trained on the prepared data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssmlab.artifacts.manifest import Manifest, read_published
from ssmlab.artifacts.metadata import CheckpointFile, Metadata, parse_checkpoint
from ssmlab.artifacts.stage_run import StageInput, file_input
from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Dataset
from ssmlab.params import Which
from ssmlab.params.paths import Paths

CHECKPOINTS: tuple[Which, ...] = ("best", "last")


@dataclass(frozen=True)
class TrainedRun:
    """The manifest of a run's folder and its checkpoints, each read once, with their paths."""

    manifest: Manifest
    files: Mapping[Which, Path]
    checkpoints: Mapping[Which, CheckpointFile]

    @property
    def inputs(self) -> list[StageInput]:
        """The checkpoints as the inputs of a stage."""
        return [file_input(self.files[which], each.sha256) for which, each in self.checkpoints.items()]


def read_trained_run(run: str, paths: Paths, dataset: Dataset) -> TrainedRun:
    """Both checkpoints of a run; raises UserError if they are missing, damaged, or were trained on other data."""
    manifest, contents = read_published(paths.model(run))
    files = {which: paths.checkpoint(run, which) for which in CHECKPOINTS}
    checkpoints = {which: parse_checkpoint(contents[file.name], str(file)) for which, file in files.items()}
    for which, checkpoint in checkpoints.items():
        check_same_data(checkpoint.metadata, dataset, run, which)
    return TrainedRun(manifest, files, checkpoints)


def first_of_same_model(checkpoints: Mapping[Which, CheckpointFile]) -> dict[Which, Which]:
    """For each checkpoint, the first one of the same model, which may be itself.

    If the best epoch of a training is its last one, its two checkpoints are one model, and a stage computes it once.
    """
    return {
        which: next(other for other, file in checkpoints.items() if file.is_same_model(checkpoint))
        for which, checkpoint in checkpoints.items()
    }


def check_same_data(metadata: Metadata, dataset: Dataset, run: str, which: Which) -> None:
    """Raises UserError for a checkpoint that was trained on other data than the prepared ones."""
    if metadata.data_fingerprint is None:
        raise UserError(
            f"run {run}, checkpoint {which}: it was imported, not trained by this study; attack it as a file, or run "
            f"`ssmlab train {run}`"
        )
    if metadata.data_fingerprint != dataset.fingerprint:
        raise UserError(
            f"run {run}, checkpoint {which}: it was trained on other data ({metadata.data_name}, "
            f"{metadata.data_fingerprint[:12]}) than what is prepared now ({dataset.name}, "
            f"{dataset.fingerprint[:12]}), "
            f"so it may have been trained on test images; run `ssmlab train {run}`"
        )
