"""study.yaml is exactly the study that was measured, for all differences between its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmlab.analysis.protocol import by_strength
from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import StudySettings
from ssmlab.params import Params
from ssmlab.project.params_file import load_params
from ssmlab.report.study_file import changes, study_yaml
from tests.analysis.synthetic import data_summary, nested_flags, results


def written(params: Params) -> str:
    flags = nested_flags(20, dict.fromkeys(("clean", *params.attack.attacks), 0.9), 0)
    found = [results(params, run, flags) for run in params.runs]
    no_claims = params.analyze.model_copy(update={"claims": ()})
    summary = summarize(params.study, found, no_claims, data_summary())
    attack = params.attack.plain()
    attack["attacks"] = dict(sorted(attack["attacks"].items()))  # as JSON gives it back
    settings = StudySettings(
        data=params.data.plain(),
        attack=attack,
        probe=params.probe.plain(),
        analyze=params.analyze.plain(),
        is_prepared=True,
    )
    return study_yaml(params.report.title, summary, settings)


@pytest.mark.parametrize("study", ["smoke", "mnist5k", "mixers", "paper-cifar10"])
def test_the_file_is_read_back_as_the_same_study(study: str, project: Path, tmp_path: Path) -> None:
    params = load_params(project / "studies" / f"{study}.yaml")
    file = tmp_path / "params.yaml"
    file.write_text(written(params))
    assert load_params(file) == params
    assert list(load_params(file).attack.attacks) == by_strength(params.attack.attacks)
    assert load_params(file).attack.eps.text == params.attack.eps.text


def test_changes_take_away_what_only_the_shared_settings_have() -> None:
    shared = {"a": 1, "b": {"c": 1, "d": 2}, "e": {"f": 1}}
    wanted = {"a": 1, "b": {"c": 3}}
    assert changes(shared, wanted) == {"e": None, "b": {"d": None, "c": 3}}
    assert changes(shared, shared) == {}
