"""The section `data`: the images from which the stage `prepare` makes the data set."""

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

    Attributes:
        name: a data set that `ssmlab data list` knows, or any name for your own images.
        source: where the files are: `embedded` in a Python package, `fetch` from its publisher (downloaded once), the
            path of an archive or folder, or `auto` (embedded if possible, otherwise fetched). A relative path is
            looked for in the project and then in the folder of the environment variable SSMLAB_DATA.
        classes: use only this many classes, the first ones (the paper's code trains on 50 of Tiny-ImageNet's 200).
        size: images are cut to a square and scaled to `size` x `size`.
        channels: 1 makes images grey, 3 makes them RGB.
        train, test: number of images from the source's own training and test parts. If the source has no test part, the
            `test` images are taken from its training part.
        validation: number of images that are held out of training, or that come from the source's own validation part,
            if it has one.
        label_noise: the fraction of the training labels that are made wrong, drawn at random with `label_noise_seed`.
            Validation and test labels stay as they are.
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
