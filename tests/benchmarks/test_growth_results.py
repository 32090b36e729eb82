"""The table of growth in docs/findings.md, from errors made up by hand."""

from __future__ import annotations

import numpy as np

from benchmarks.growth_results import growth_table
from ssmlab.probes.growth import fit_growth
from ssmlab.probes.results import Growth


def growth(rate: float) -> Growth:
    at = np.arange(1.0, 21.0)
    errors = np.exp(rate * at + np.random.default_rng(0).normal(0.0, 0.01, (5, 20)))
    fit = fit_growth(errors, at)
    means = tuple(np.exp(np.log(errors).mean(0)))
    distances = tuple(int(each) for each in at)
    return Growth(system="all layers", at=0, profile=means, after=fit, distances=distances, end=means, over=fit)


def test_the_table_has_the_law_with_its_rate_and_says_what_explodes() -> None:
    found = [
        {"model": "mamba", "training": training, "seed": 0, "growth": growth(rate).plain()}
        for training, rate in (("standard", 0.2), ("at", -0.1))
    ]
    _, _, rising, falling = growth_table(found).splitlines()
    assert rising.startswith("| `mamba` | standard | grows exponentially | 0.2 (0.2 to 0.2) | 0.0092 |")
    assert rising.endswith("| yes |")
    assert falling.startswith("| `mamba` | at | fades exponentially | -0.1 (-0.1 to -0.1) | 0.0092 |")
    assert falling.endswith("| no |")
