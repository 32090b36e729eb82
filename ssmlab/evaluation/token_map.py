"""A map of the positions at which one changed patch breaks images. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from ssmlab.core.errors import UserError
from ssmlab.params import Strict


class TokenMap(Strict):
    """The number of images that were broken by one changed patch, for each position of the patch.

    Attributes:
        patch: side of a patch in pixels.
        rows, columns: number of patches that tile the image.
        n: number of images that the attack saw.
        right: number of clean images that the model classifies correctly; these were attacked.
        broken: for each position, row by row, the number of these images that were broken.
    """

    patch: int
    rows: int
    columns: int
    n: Annotated[int, Field(ge=1)]
    right: int
    broken: Annotated[tuple[int, ...], Field(strict=False)]

    @model_validator(mode="after")
    def counts_are_possible(self) -> Self:
        """Check that there is one count per position, between 0 and the number of attacked images."""
        if len(self.broken) != self.rows * self.columns or any(not 0 <= each <= self.right for each in self.broken):
            raise ValueError("broken does not agree with the number of positions and images")
        return self

    @property
    def accuracies(self) -> list[float]:
        """The accuracy with one changed patch for each position, row by row."""
        return [(self.right - each) / self.n for each in self.broken]


def patch_grid(patch: int, image_shape: Sequence[int], where: str = "patch") -> tuple[int, int]:
    """The number of rows and columns of patches that tile an image (C, H, W).

    Raises:
        UserError: the patches do not tile the image.
    """
    height, width = image_shape[-2:]
    if height % patch or width % patch:
        raise UserError(
            f"{where}: patches of {patch} x {patch} pixels do not tile images of {height} x {width}; choose a side "
            "that divides both"
        )
    return height // patch, width // patch
