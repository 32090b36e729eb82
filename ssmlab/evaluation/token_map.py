"""Where in an image one changed patch breaks a model. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from ssmlab.core.errors import UserError
from ssmlab.params import Strict


class TokenMap(Strict):
    """How many images were broken by changing one patch, at each position of it.

    Attributes:
        patch: the side of a patch in pixels; patches tile the image, (rows, columns) of them.
        n: how many images the attack saw.
        right: how many of them the model has right when clean; these were attacked.
        broken: for each position, row by row, how many of these were broken there.
    """

    patch: int
    rows: int
    columns: int
    n: Annotated[int, Field(ge=1)]
    right: int
    broken: Annotated[tuple[int, ...], Field(strict=False)]

    @model_validator(mode="after")
    def counts_are_possible(self) -> Self:
        """One count a position, of at most all attacked images."""
        if len(self.broken) != self.rows * self.columns or any(not 0 <= each <= self.right for each in self.broken):
            raise ValueError("broken does not agree with the number of positions and images")
        return self

    @property
    def accuracies(self) -> list[float]:
        """The accuracy with one patch changed, for each position of it, row by row."""
        return [(self.right - each) / self.n for each in self.broken]


def patch_grid(patch: int, image_shape: Sequence[int], where: str = "patch") -> tuple[int, int]:
    """How many rows and columns of patches tile an image (C, H, W); raises UserError if they do not tile it."""
    height, width = image_shape[-2:]
    if height % patch or width % patch:
        raise UserError(
            f"{where}: patches of {patch} x {patch} pixels do not tile images of {height} x {width}; choose a side "
            "that divides both"
        )
    return height // patch, width // patch
