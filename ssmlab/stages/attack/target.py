"""The target of the stage `attack`, a trained run or an imported checkpoint, and the place of its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssmlab.artifacts.manifest import Manifest
from ssmlab.artifacts.metadata import CheckpointFile, Metadata, read_checkpoint
from ssmlab.artifacts.stage_run import StageInput, file_input
from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Dataset
from ssmlab.params import IMPORTED, Which
from ssmlab.params.paths import Paths
from ssmlab.stages.trained_run import read_trained_run


@dataclass(frozen=True)
class Target:
    """What is attacked, and where its results go.

    Attributes:
        name: the argument of `ssmlab attack` for it: a run or a file.
        study, run: its names in the results.
        checkpoints: the checkpoints, each read once.
        inputs: their files as inputs of the stage.
        manifest: the manifest of the trained run's folder; None for an imported checkpoint.
        results: the results file.
        aside: the file for results that must not be published.
    """

    name: str
    study: str
    run: str
    checkpoints: Mapping[Which, CheckpointFile]
    inputs: Sequence[StageInput]
    manifest: Manifest | None
    results: Path
    aside: Path


def trained_target(run: str, paths: Paths, dataset: Dataset) -> Target:
    """Both checkpoints of a run; raises UserError if they are damaged or were trained on other data."""
    trained = read_trained_run(run, paths, dataset)
    aside = paths.live(run) / "unpublished-attack.json"
    results = paths.attack(run)
    return Target(run, paths.study, run, trained.checkpoints, trained.inputs, trained.manifest, results, aside)


def imported_target(path: Path, paths: Paths) -> Target:
    """An imported checkpoint; raises UserError if the file is damaged or was not imported."""
    checkpoint = read_checkpoint(path)
    metadata = checkpoint.metadata
    if metadata.source is None:
        raise UserError(
            f"{path}: run {metadata.run} of study {metadata.study} is attacked by its name, with both checkpoints"
        )
    imported, run, which = dataclasses.replace(paths, study=IMPORTED), metadata.run, metadata.which
    aside = imported.live(run) / "unpublished-attack.json"
    inputs = [file_input(path, checkpoint.sha256)]
    return Target(str(path), IMPORTED, run, {which: checkpoint}, inputs, None, imported.attack(run), aside)


def check_image_shape(metadata: Metadata, dataset: Dataset, path: Path) -> None:
    """Raise UserError unless the checkpoint has the image shape and the number of classes of the prepared data set."""
    takes, there = (metadata.image_shape, metadata.classes), (dataset.image_shape, dataset.classes)
    if takes != there:
        raise UserError(
            f"{path}: takes images {metadata.image_shape} of {metadata.classes} classes, but {dataset.name} has "
            f"{dataset.image_shape} of {dataset.classes}; switch with `ssmlab use` to a study with fitting data"
        )
