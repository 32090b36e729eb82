"""The section `data`: what the stage `prepare` makes its data set of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ssmlab.params.base import NAME, ImageCount, Positive, Seed, Strict


def check_name(value: str) -> str:
    """The pydantic check of a data set's name."""
    if not NAME.fullmatch(value):
        raise ValueError("must be of up to 100 lower-case letters, digits, '.', '_' and '-'")
    return value


DataName = Annotated[str, AfterValidator(check_name)]


class DataParams(Strict):
    """Which images, and how they are split into training, validation and test.

    name: a data set that `ssmlab data list` knows, or any name for one of your own. source: where its files are:
    `embedded` in a Python package, `fetch` from its publisher (downloaded once), the path of an archive or folder, or
    `auto`: embedded if it can be, else fetched. train and test: how many images of the source's own training and test
    parts. validation: how many images are held out of training, or come from the source's own validation part where
    it has one. A source without a test part gives up `test` images of its training part.

    classes: only the first so many classes (the paper's code trains on 50 of Tiny-ImageNet's 200). size: images are
    cut to a square and scaled to `size` x `size`. channels: 1 makes them grey, 3 makes them RGB.

    label_noise: the fraction of the training labels that are made wrong, at random, drawn with `label_noise_seed`;
    validation and test labels stay as they are.
    """

    name: DataName
    source: Annotated[str, Field(min_length=1)]
    classes: Annotated[int | None, Field(ge=2)] = None
    size: Positive | None = None
    channels: Literal[1, 3] | None = None
    train: ImageCount
    validation: Annotated[int, Field(ge=0)]
    test: ImageCount
    seed: Seed
    # None by default, so that the settings of studies without noise keep their fingerprint
    label_noise: Annotated[float | None, Field(ge=0, le=1)] = None
    label_noise_seed: Seed | None = None
