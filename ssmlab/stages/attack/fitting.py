"""Whether an imported checkpoint can be attacked on the prepared data set."""

from __future__ import annotations

from pathlib import Path

from ssmlab.artifacts.metadata import Metadata
from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Dataset


def check_image_shape(metadata: Metadata, dataset: Dataset, path: Path) -> None:
    """Raises UserError unless the checkpoint has the image shape and the number of classes of the prepared data set."""
    takes, there = (metadata.image_shape, metadata.classes), (dataset.image_shape, dataset.classes)
    if takes != there:
        raise UserError(
            f"{path}: takes images {metadata.image_shape} of {metadata.classes} classes, but {dataset.name} has "
            f"{dataset.image_shape} of {dataset.classes}; switch with `ssmlab use` to a study with fitting data"
        )
