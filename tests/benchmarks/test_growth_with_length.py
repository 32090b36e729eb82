"""Longer sequences made of digits, and the table of the error in their last token."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks.growth_with_length import growth_at, lengthened, rows, stacked, untrained
from ssmlab.artifacts.checkpoint import load, save
from ssmlab.nets import build
from ssmlab.nets.tokens import Tokens
from ssmlab.params import Params
from tests.artifacts.trained_metadata import trained_metadata


def digits(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def saved(folder: Path, params: Params, mixer: str) -> Path:
    settings = params.run("ssm")
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"mixer": mixer, "patch": 4})})
    path = folder / "best.safetensors"
    save(path, build(settings.model, (1, 28, 28), 10, seed=3), trained_metadata(settings))
    return path


def test_the_tokens_of_stacked_digits_are_the_tokens_of_one_digit_after_another() -> None:
    x = digits(6)
    tokens = Tokens(4, "raster")
    long = tokens(stacked(x, 2, 3 * 49))
    assert torch.equal(long[0], torch.cat([tokens(x[i : i + 1])[0] for i in range(3)]))
    assert torch.equal(long[1], torch.cat([tokens(x[i : i + 1])[0] for i in range(3, 6)]))


def test_every_model_and_length_has_a_row_with_the_error_at_the_farthest_distance() -> None:
    x = digits(6)
    models = {"S4": partial(untrained, {}, 8), "S5": partial(untrained, {"mixer": "s5"}, 8)}
    found = list(rows(models, x, [49, 98], 3))
    assert len(found) == 2 * len(models)
    growth = growth_at(models["S5"], stacked(x, 3, 98))
    assert growth.distances[-1] == 97  # from the first token to the last
    assert f"| S5 | 98 | {growth.end[-1]:.2g} |" in found[3]


@pytest.mark.parametrize("mixer", ["s5", "mamba"])
def test_a_longer_model_does_with_the_first_tokens_what_the_trained_one_does(
    mixer: str, tiny_params: Params, tmp_path: Path
) -> None:
    path = saved(tmp_path, tiny_params, mixer)
    short, _ = load(path)
    long = lengthened(path, (1, 56, 28)).eval()
    x = digits(6)
    with torch.no_grad():
        h = short.norm(short.stem(x[::2]))
        longer = long.norm(long.stem(stacked(x, 3, 98)))
        for one, other in zip(short.layers, long.layers, strict=True):
            h, longer = one(h), other(longer)
    torch.testing.assert_close(longer[:, :49], h, rtol=1e-4, atol=1e-5)


def test_a_model_whose_kernel_holds_for_one_length_is_refused(tiny_params: Params, tmp_path: Path) -> None:
    path = saved(tmp_path, tiny_params, "s4")
    with pytest.raises(SystemExit, match="s4 hold for one length"):
        lengthened(path, (1, 56, 28))
