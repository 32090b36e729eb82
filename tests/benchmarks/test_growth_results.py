"""The table of growth in docs/findings.md, from errors made up by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.growth_results import accuracies, growth_figure, growth_table, probed_runs
from ssmlab.params import Params
from ssmlab.probes.growth import fit_growth
from ssmlab.probes.results import CheckpointProbes, Growth, ProbeResults, save_probes


def growth(rate: float) -> Growth:
    at = np.arange(1.0, 21.0)
    errors = np.exp(rate * at + np.random.default_rng(0).normal(0.0, 0.01, (5, 20)))
    fit = fit_growth(errors, at)
    means = tuple(np.exp(np.log(errors).mean(0)))
    distances = tuple(int(each) for each in at)
    return Growth(system="all layers", at=0, profile=means, after=fit, distances=distances, end=means, over=fit)


def probed(run: str, rate: float, params: Params) -> ProbeResults:
    best = CheckpointProbes(sha256="0" * 64, clean=0.75, robust=0.5, ladders=(), growth=(growth(rate),))
    return ProbeResults(
        format=1,
        study="growth",
        run=run,
        model={},
        train={},
        data_fingerprint="0",
        probe=params.probe,
        images={"train": 8, "test": 8},
        code_version="0",
        checkpoints={"best": best, "last": best},
    )


def test_the_table_has_the_law_with_its_rate_and_says_what_explodes(tiny_params: Params) -> None:
    found = [probed("mamba-standard-s0", 0.2, tiny_params), probed("mamba-at-s0", -0.1, tiny_params)]
    _, _, rising, falling = growth_table(found).splitlines()
    assert rising.startswith("| `mamba-standard` | 75.0 | 50.0 | grows exponentially | 0.2 (0.2 to 0.2) | 0.0092 |")
    assert rising.endswith("| yes |")
    assert falling.startswith("| `mamba-at` | 75.0 | 50.0 | fades exponentially | -0.1 (-0.1 to -0.1) | 0.0092 |")
    assert falling.endswith("| no |")


def test_probes_are_read_with_standard_training_first_and_drawn_a_column_a_training(
    tiny_params: Params, tmp_path: Path
) -> None:
    for run in ("mamba-at-s0", "mamba-standard-s0", "ads-at-s0"):
        save_probes(tmp_path / f"{run}.json", probed(run, 0.1, tiny_params))
    found = probed_runs(tmp_path)
    assert [each.run for each in found] == ["ads-at-s0", "mamba-standard-s0", "mamba-at-s0"]
    assert json.loads(json.dumps(accuracies(found)))[1]["accuracy"] == 50.0
    panels = growth_figure(found).axes
    assert [axes.get_title() for axes in panels[:2]] == ["training: at", "training: standard"]
    assert [len(axes.lines) for axes in panels] == [4, 2, 4, 2]  # errors and law of each run
