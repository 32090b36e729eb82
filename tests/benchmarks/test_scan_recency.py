"""The slope over the scan, on maps made up so that the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scan_recency import Array, Maps, rows, slope_with_interval

PATCHES = 49


def orders(seed: int) -> Array:
    """(3, 49): the places of the patches in raster order, in column order and in a random one, 0 to 1."""
    raster = np.arange(PATCHES)
    column = raster.reshape(7, 7).T.ravel()
    return np.stack([raster, column, np.random.default_rng(seed).permutation(PATCHES)]) / (PATCHES - 1)


@pytest.mark.parametrize("slope", [-0.2, 0.0, 0.3])
def test_a_planted_slope_is_found_whatever_the_patches_themselves_are_worth(slope: float) -> None:
    """Also where the patches that raster order reads late are worth most, which no single order tells from recency."""
    places = orders(0)
    worth = 0.4 * places[0] + np.random.default_rng(1).random(PATCHES)
    found, half = slope_with_interval(places, worth + slope * places)
    assert found == pytest.approx(slope)
    assert half < 1e-9


def test_the_interval_covers_the_planted_slope_about_as_often_as_it_says() -> None:
    """The noise of a patch is common to all orders in part, so orders are not independent draws."""
    covered = 0
    for seed in range(400):
        generator, places = np.random.default_rng(seed), orders(seed)
        own = generator.normal(0.0, 0.1, PATCHES) * (places - places.mean(0))
        found, half = slope_with_interval(places, 0.1 * places + own + generator.normal(0.0, 0.05, places.shape))
        covered += abs(found - 0.1) < half
    assert 0.92 <= covered / 400 <= 0.98


def test_every_model_has_a_line_with_the_slopes_of_the_seeds_that_all_its_orders_have() -> None:
    places = orders(0)
    maps: Maps = {
        name: {seed: (place, 0.1 * (seed + 1) * place) for seed in (0, 1, *((2,) if name == "raster" else ()))}
        for name, place in zip(("raster", "column"), places[:2], strict=True)
    }
    assert rows({"gelu": maps}) == ["| `gelu` | raster, column | 2 | +15.0 (+15.0 to +15.0) | +10.0, +20.0 |"]
