"""The stages of dvc.yaml for the runs of a study, and what the names of runs, groups and stages mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmlab.core.errors import UserError
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import pipeline
from ssmlab.project.params_file import load_params


def test_every_run_has_its_stages_in_the_order_of_dvc_yaml(tiny_params: Params, paths: Paths) -> None:
    runs = ["ssm", "attention", "ads"]
    assert pipeline.stages_of(tiny_params, paths.root) == [
        "prepare",
        *(f"train@{run}" for run in runs),
        *(f"attack@{run}" for run in runs),
        *(f"probe@{run}" for run in runs),
        "analyze",
        "report",
    ]


def test_a_foreach_over_a_list_or_a_mapping_gives_its_items() -> None:
    assert pipeline.instances("s", {"foreach": ["a", "b"], "do": {}}, ["x"]) == ["s@a", "s@b"]
    assert pipeline.instances("s", {"foreach": {"a": 1}, "do": {}}, ["x"]) == ["s@a"]


def test_a_run_stands_for_its_training_and_its_attack(tiny_params: Params, paths: Paths) -> None:
    def resolve(*targets: str) -> tuple[str, ...]:
        return pipeline.resolve(targets, tiny_params, paths.root)

    assert resolve() == ()
    assert resolve("ads", "train@ads", "train", "report") == ("train@ads", "attack@ads", "probe@ads", "train", "report")
    with pytest.raises(UserError, match=r"no run, group or stage 'adz' \(did you mean 'ads'\?\)"):
        resolve("adz")


def test_a_group_of_seeds_stands_for_its_runs(project: Path) -> None:
    params = load_params(project / "params.yaml")
    named = pipeline.resolve(["ads"], params, project)
    assert named == tuple(f"{stage}@ads-s{seed}" for seed in (0, 1, 2) for stage in ("train", "attack", "probe"))
