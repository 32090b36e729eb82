"""Where a patch is read in a model's scan: by the model's own cutting, against a walk through the image by hand."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest

from ssmlab.params import ModelParams, Params
from ssmlab.stages.attack.scan import scan_places


def model_of(params: Params, **changes: Any) -> ModelParams:
    return params.run("ssm").model.model_copy(update=changes)


Walk = Callable[[int, int], int]  # from the row and column of one of 6 x 6 patches to the number of its token
WALKS: dict[str, Walk] = {
    "raster": lambda row, column: 6 * row + column,
    "column": lambda row, column: 6 * column + row,
    "snake": lambda row, column: 6 * row + (5 - column if row % 2 else column),
}


@pytest.mark.parametrize("order", WALKS)
@pytest.mark.parametrize(("patch", "token"), [(2, 2), (4, 2), (2, 4), (1, 2)])
def test_a_patch_is_read_where_its_pixels_are(tiny_params: Params, order: str, patch: int, token: int) -> None:
    side = 6 * token
    places = [[WALKS[order](row // token, column // token) for column in range(side)] for row in range(side)]
    expected = [
        fmean(places[top + row][left + column] for row in range(patch) for column in range(patch)) / 35
        for top in range(0, side, patch)
        for left in range(0, side, patch)
    ]
    found = scan_places(model_of(tiny_params, tokens=order, patch=token), (1, side, side), patch)
    assert found == pytest.approx(expected)


def test_the_published_tokens_of_colour_images_are_read_in_three_places(tiny_params: Params) -> None:
    found = scan_places(model_of(tiny_params, tokens="published", patch=1), (3, 4, 4), 1)
    expected = [fmean((colour * 16 + pixel) // 3 for colour in range(3)) / 15 for pixel in range(16)]
    assert found == pytest.approx(expected)


def test_a_permuted_scan_reads_every_patch_once(tiny_params: Params) -> None:
    found = scan_places(model_of(tiny_params, tokens="permuted", patch=2), (1, 8, 8), 2)
    assert sorted(found) == pytest.approx([place / 15 for place in range(16)])
    assert list(found) != sorted(found)
