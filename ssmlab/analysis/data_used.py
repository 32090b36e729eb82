"""Which data the numbers are of: what the prepared data set says of itself, checked against what was attacked."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from ssmlab.core.errors import UserError
from ssmlab.data.header import DataProvenance, DataSummary
from ssmlab.evaluation.results import Data
from ssmlab.params import Strict


class DataUsed(BaseModel):
    """The prepared data set of a study. Not a `Strict` by name, whose method `fingerprint` the field would hide.

    Attributes:
        name: what numbers on it may be called, which is not always the name that was asked for.
        description: where the images come from and what was checked, in words.
        image_shape: (C, H, W).
        train, validation, test: images of the splits.
        seed: what the splits were drawn with.
        fingerprint: of the content.
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
    """What `prepared` says of itself; raises UserError if it is not the data set that was attacked."""
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
