"""A grid is every combination of its axes, and means the same as its runs written by hand."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.params import GridParams
from ssmlab.project.params_file import load_params, parse_params, read_yaml

PROJECT = Path(__file__).resolve().parents[2]
ADS = {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}}
TRADES = {"regime": "trades", "trades": {"beta": 6.0}}
GRID = {"models": {"ssm": {}, "ads": ADS}, "regimes": {"pgd": {}, "trades": TRADES}, "seeds": [0, 7]}


def study(**sections: Any) -> dict[str, Any]:
    raw = read_yaml(PROJECT / "studies" / "smoke.yaml")
    del raw["runs"]
    raw["analyze"]["claims"] = []
    return copy.deepcopy(raw | sections)


def problem(raw: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        parse_params(raw, "x.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_grid_is_its_runs_written_by_hand() -> None:
    by_hand = {
        f"{model}-{regime}-s{seed}": {"model": change, "train": {**way, "seed": seed}}
        for (model, change), (regime, way), seed in itertools.product(
            (("ssm", {}), ("ads", ADS)), (("pgd", {}), ("trades", TRADES)), (0, 7)
        )
    }
    made, written = parse_params(study(grid=GRID), "x"), parse_params(study(runs=by_hand), "x")
    assert made == written
    assert list(made.runs) == list(written.runs)
    assert made.runs["ads-trades-s7"].train.seed == 7
    assert made.runs["ads-trades-s7"].model.enhancement == "ads"


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        (["models"], ["ssm", "ads"]),
        (["regimes"], ["pgd", "trades"]),
        (["seeds"], ["s0", "s7"]),
        (["models", "seeds"], ["ssm-s0", "ssm-s7", "ads-s0", "ads-s7"]),
        (["regimes", "seeds"], ["pgd-s0", "pgd-s7", "trades-s0", "trades-s7"]),
    ],
)
def test_names_leave_out_missing_axes(axes: list[str], names: list[str]) -> None:
    assert list(parse_params(study(grid={axis: GRID[axis] for axis in axes}), "x").runs) == names


def test_runs_beside_a_grid_come_first() -> None:
    made = parse_params(study(grid={"seeds": [0, 1]}, runs={"big": {"model": {"d_model": 32}}}), "x")
    assert list(made.runs) == ["big", "s0", "s1"]
    assert made.runs["big"].model.d_model == 32


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
def test_a_grid_has_one_run_for_every_combination(models: int, regimes: int, seeds: list[int]) -> None:
    grid = GridParams(
        models={f"m{i}": {} for i in range(models)}, regimes={f"r{i}": {} for i in range(regimes)}, seeds=tuple(seeds)
    )
    names = [run.name for run in grid.runs()]
    assert len(names) == len(set(names)) == models * regimes * len(seeds)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("grid.regimes.trades.trades.beta", "six", "grid.regimes.trades.trades.beta: a number is needed"),
        ("grid.models.ads.ads.act", "silu", "grid.models.ads.ads.act: must be"),
        ("grid.models.ads.train", {}, "grid.models.ads.train: unknown key"),
        ("grid.models.ads", None, "grid.models.ads: a mapping is needed"),
        ("grid.models", {}, "grid.models: "),
        ("grid.regimes.trades.trades", None, "grid.regimes.trades: a section `trades` is needed"),
        ("grid.seeds", [0, -1], "grid.seeds.1: must be greater than or equal to 0"),
        ("grid.seeds", [3, 3], "grid: `seeds` names a seed twice"),
        ("grid.seeds", [], "grid.seeds: "),
        ("grid.seeds", "all", "grid.seeds: "),
        ("grid.axis", {}, "grid.axis: unknown key"),
        ("grid", {}, "grid: a grid needs"),
        ("grid", 3, "grid: a mapping is needed"),
        ("runs", {"ads-pgd-s0": {}}, "runs.ads-pgd-s0: the grid makes a run of this name too"),
        ("runs", 3, "runs: a mapping"),
        ("grid.models.Ads", {}, "runs: 'Ads-pgd-s0' cannot be a run's name"),
    ],
)
def test_a_mistake_in_a_grid_is_reported_at_the_grids_own_key(place: str, value: Any, says: str) -> None:
    raw = study(grid=GRID)
    *sections, last = place.split(".")
    below = raw
    for section in sections:
        below = below[section]
    below[last] = value
    assert problem(raw).startswith(f"x.yaml: {says}")


def test_a_mistake_in_a_shared_section_of_a_grid_is_reported_there() -> None:
    raw = study(grid=GRID)
    raw["train"]["epochs"] = 0
    assert problem(raw) == "x.yaml: train.epochs: must be greater than or equal to 1 (it is 0)"


def test_the_study_of_regimes_has_every_regime_on_three_models() -> None:
    """The study behind the table of docs/regimes.md: its pure PGD runs are those of mnist5k-published."""
    regimes, default = (load_params(PROJECT / "studies" / f"{name}.yaml") for name in ("regimes", "mnist5k-published"))
    assert len(regimes.runs) == 3 * 16 * 3
    for model in ("ssm", "ads", "attention"):
        assert regimes.runs[f"{model}-pgd-s0"].model == default.runs[model].model
    assert {run.train.regime for run in regimes.runs.values()} == {
        *("standard", "jacobian", "pgd_at", "trades", "mart", "free", "yopo", "fgsm")
    }
