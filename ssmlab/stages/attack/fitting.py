"""Whether a checkpoint may be attacked on the prepared data set."""

from __future__ import annotations

from pathlib import Path

from ssmlab.artifacts.metadata import Metadata
from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Dataset
from ssmlab.params import Which


def check_same_data(metadata: Metadata, dataset: Dataset, run: str, which: Which) -> None:
    """Raises UserError for a checkpoint that was trained on other data than those it would be attacked on."""
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
            f"so that test images may have been training images; run `ssmlab train {run}`"
        )


def check_image_shape(metadata: Metadata, dataset: Dataset, path: Path) -> None:
    """Raises UserError for a checkpoint whose images or classes are of another size than the prepared ones."""
    takes, there = (metadata.image_shape, metadata.classes), (dataset.image_shape, dataset.classes)
    if takes != there:
        raise UserError(
            f"{path}: takes images {metadata.image_shape} of {metadata.classes} classes, but {dataset.name} has "
            f"{dataset.image_shape} of {dataset.classes}; change to a study of its data with `ssmlab use`"
        )
