"""The data set behind the numbers: the description of the prepared data set, checked against the attacked one."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from ssmlab.core.errors import UserError
from ssmlab.data.header import DataProvenance, DataSummary
from ssmlab.evaluation.protocol import Data
from ssmlab.params import Strict


class DataUsed(BaseModel):
    """The prepared data set of a study.

    It does not inherit from `Strict`, because its field `fingerprint` would hide the method of that name.

    Attributes:
        name: the name under which numbers may be published; it can differ from the name in params.yaml.
        description: where the images come from and what was checked, as text.
        image_shape: (C, H, W).
        train, validation, test: number of images in each split.
        seed: the seed with which the splits were drawn.
        fingerprint: hash of the content.
    """

    model_config = Strict.model_config

    name: str
    provenance: DataProvenance
    description: str
    classes: int
    image_shape: Annotated[tuple[int, int, int], Field(strict=False)]
    train: int
    validation: int
    test: int
    seed: int
    fingerprint: str


def data_used(prepared: DataSummary, attacked: Data, study: str) -> DataUsed:
    """The description of the prepared data set.

    Raises:
        UserError: it is not the data set that was attacked.
    """
    description = prepared.description
    if description.fingerprint != attacked.fingerprint:
        raise UserError(
            f"study {study}: the prepared data set ({description.name}, fingerprint "
            f"{description.fingerprint[:12]}) is not the one that was attacked ({attacked.name}, "
            f"fingerprint {attacked.fingerprint[:12]}); run `ssmlab repro`"
        )
    return DataUsed(
        name=description.name,
        provenance=description.provenance,
        description=description.source,
        classes=description.classes,
        image_shape=prepared.image_shape,
        train=prepared.train,
        validation=prepared.validation,
        test=prepared.test,
        seed=description.seed,
        fingerprint=description.fingerprint,
    )
