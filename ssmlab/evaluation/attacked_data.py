"""Describes the images that were attacked."""

from __future__ import annotations

from ssmlab.data.dataset import Dataset
from ssmlab.evaluation.protocol import Data


def attacked_data(dataset: Dataset, n: int) -> Data:
    """The description, in results, of the first `n` test images of a prepared data set."""
    return Data(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        split="test",
        n=n,
        indices_hash=dataset.test.indices_hash(n),
        train=len(dataset.train),
        validation=len(dataset.validation),
    )
