"""Longer sequences made of digits, and the table of the error in their last token."""

from __future__ import annotations

import torch

from benchmarks.growth_with_length import MODELS, growth_at, rows, stacked
from ssmlab.nets.tokens import Tokens


def test_the_tokens_of_stacked_digits_are_the_tokens_of_one_digit_after_another() -> None:
    x = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    tokens = Tokens(4, "raster")
    long = tokens(stacked(x, 2, 3 * 49))
    assert torch.equal(long[0], torch.cat([tokens(x[i : i + 1])[0] for i in range(3)]))
    assert torch.equal(long[1], torch.cat([tokens(x[i : i + 1])[0] for i in range(3, 6)]))


def test_every_model_and_length_has_a_row_with_the_error_at_the_farthest_distance() -> None:
    x = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = list(rows(x, [49, 98], 3, 8))
    assert len(found) == 2 * len(MODELS)
    growth = growth_at(MODELS["S5"], stacked(x, 3, 98), 8)
    assert growth.distances[-1] == 97  # from the first token to the last
    assert f"| S5 | 98 | {growth.end[-1]:.2g} |" in found[5]
