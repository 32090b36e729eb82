"""Metadata of a checkpoint as a training writes it, for tests that need a trained checkpoint but no training."""

from __future__ import annotations

from typing import Any

from ssmlab.artifacts.metadata import Metadata
from ssmlab.params import RunParams


def trained_metadata(settings: RunParams, **changes: Any) -> Metadata:
    """The metadata of the `best` checkpoint of the run `ads` of the study `smoke`; `changes` replace fields."""
    fields = {
        "study": "smoke",
        "run": "ads",
        "which": "best",
        "epoch": 2,
        "model": settings.model,
        "train": settings.train,
        "image_shape": (1, 28, 28),
        "classes": 10,
        "val_clean": 0.91,
        "val_robust": 2 / 3,
        "selection_split": "validation",
        "data_name": "mnist5k",
        "data_fingerprint": "0" * 64,
        "params_fingerprint": settings.fingerprint(),
        "code_version": "0.0.0",
    }
    return Metadata(**(fields | changes))
