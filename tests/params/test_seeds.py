"""Which runs form a group, and how the group is named."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from ssmlab.params import NAME, Params, seed_groups
from ssmlab.project.params_file import load_params
from tests.analysis.synthetic import seeded_params


def runs(**seeds: int) -> dict[str, dict[str, Any]]:
    """Runs of equal settings, with these seeds; `_` means `-`."""
    return {
        name.replace("_", "-"): {"model": {"mixer": "s4"}, "train": {"epochs": 1, "seed": seed}}
        for name, seed in seeds.items()
    }


@pytest.mark.parametrize(
    ("given_runs", "expected"),
    [
        (runs(ads_trades_s0=0, ads_trades_s1=1, ads_trades_s2=2), "ads-trades"),
        (runs(ads_s1=1, ads_s10=10), "ads"),
        (runs(ads_s10=10, ads_s11=11), "ads"),
        (runs(ads_seed3=3, ads_seed4=4), "ads"),
        (runs(ads_seed_3=3, ads_seed_4=4), "ads"),
        (runs(ads_0=0, ads_1=1), "ads"),
        (runs(ads_a=0, ads_b=1), "ads"),
        (runs(ads_seedy=0, ads_seedz=1), "ads"),
        (runs(pgd_7_s0=0, pgd_7_s1=1), "pgd-7"),
        (runs(ads=0, ads_s1=1), "ads-seeds"),
        (runs(ads=0, ads_s1=1, ads_seeds=2), "ads-seeds-2"),
        (runs(s0=0, s1=1), "seeds"),
        (runs(first=0, second=1), "seeds"),
    ],
)
def test_a_group_is_named_by_what_its_runs_names_have_in_common(given_runs: dict[str, Any], expected: str) -> None:
    assert seed_groups(given_runs) == {expected: tuple(given_runs)}


def test_runs_are_grouped_by_their_settings_and_not_by_their_names() -> None:
    given_runs = runs(ads_s1=1, ads_s0=0, other=2, ads_s3=3)
    given_runs["ads-s3"]["train"]["epochs"] = 2
    assert seed_groups(given_runs) == {"seeds": ("ads-s0", "ads-s1", "other"), "ads-s3": ("ads-s3",)}


def test_a_second_run_with_the_same_seed_does_not_count_as_a_second_seed() -> None:
    given_runs = runs(ads_s0=0, ads_s1=1, twin=0)
    assert seed_groups(given_runs) == {"ads": ("ads-s0", "ads-s1"), "twin": ("twin",)}


names = st.from_regex(re.compile(r"[ab]{0,2}(-s|-seed|-|)[0-2]"), fullmatch=True).filter(NAME.fullmatch)


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(names, st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=10))
def test_every_run_is_in_one_group_and_no_name_means_two_things(given_runs: dict[str, tuple[int, int]]) -> None:
    settings_by_run = {
        name: {"model": {"layers": layers}, "train": {"seed": seed}} for name, (seed, layers) in given_runs.items()
    }
    groups = seed_groups(settings_by_run)
    assert sorted(run for members in groups.values() for run in members) == sorted(given_runs)
    for name, members in groups.items():
        assert NAME.fullmatch(name)
        assert (name,) == members if len(members) == 1 else name not in given_runs
        assert len({given_runs[run][1] for run in members}) == 1
        seeds = [given_runs[run][0] for run in members]
        assert seeds == sorted(set(seeds))


def test_claims_may_name_groups(tiny_params: Params) -> None:
    claim = {"says": "A", "run": "ads-pgd", "than": "ssm-pgd-s1", "measures": ["clean"]}
    groups = seeded_params(tiny_params, [claim], seeds=(0, 1)).groups
    assert groups["ads-pgd"] == ("ads-pgd-s0", "ads-pgd-s1")
    assert list(groups) == ["ssm-pgd", "ssm-trades", "ads-pgd", "ads-trades"]
    known = r"'adz' is not a run or a group of runs \(runs and groups: ssm-pgd-s0, .* and 9 more"
    with pytest.raises(ValidationError, match=known):
        seeded_params(tiny_params, [{**claim, "run": "adz"}])


def test_a_claim_that_names_a_model_with_one_seed_is_told_to_name_the_run_or_to_add_a_seed(tiny_params: Params) -> None:
    claim = {"says": "A", "run": "ads-pgd", "than": "ssm-pgd-s1", "measures": ["clean"]}
    told = r"'ads-pgd' has one seed, and a group needs two; name the run ads-pgd-s1 itself, or add a run with another"
    with pytest.raises(ValidationError, match=told):
        seeded_params(tiny_params, [claim], seeds=(1,))
    assert seeded_params(tiny_params, [{**claim, "run": "ads-pgd-s1"}], seeds=(1,)).analyze.claims


def test_a_grids_groups_are_its_models_and_regimes(project: Path) -> None:
    path = project / "studies" / "regimes.yaml"
    grid = YAML(typ="safe").load(path)["grid"]
    expected = [f"{model}-{regime}" for model, regime in product(grid["models"], grid["regimes"])]
    groups = load_params(path).groups
    assert list(groups) == expected
    assert {len(runs) for runs in groups.values()} == {len(grid["seeds"])}
