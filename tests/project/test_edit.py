"""Editing a run of params.yaml changes only the requested values, and nothing invalid is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmlab.core.errors import UserError
from ssmlab.params import REGIMES, Params, TrainParams
from ssmlab.project.edit import edit_run, run_values, write_edit
from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.params_file import load_params

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


@pytest.fixture
def params(tmp_path: Path, project: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes((project / "studies" / "smoke.yaml").read_bytes())
    return path


def is_one_of_two_in_a_claim(params: Params, run: str) -> bool:
    """Whether other settings for the run would leave a claim's group with one seed, which is no group."""
    claimed = {name for claim in params.analyze.claims for name in (claim.run, claim.than)}
    return any(run in members and len(members) == 2 and name in claimed for name, members in params.groups.items())


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_an_edit_changes_the_values_of_its_run_and_no_other_line(study: Path, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    written = expanded_params_yaml(study)
    path.write_bytes(written)
    before = load_params(path)
    free = [run for run in before.runs if not is_one_of_two_in_a_claim(before, run)]
    if not free:  # every run is needed by a claim, so the study is edited without its claims
        written = expanded_params_yaml(study, {"analyze.claims": "[]"})
        path.write_bytes(written)
    run = next(iter(free or before.runs))
    before = load_params(path)
    write_edit(edit_run(path, run, {**run_values(before, run), "epochs": "12", "eps": "4/255", "seed": "9"}))
    after = load_params(path)
    changed = after.run(run).train
    assert (changed.epochs, changed.seed, float(changed.adversary.eps)) == (12, 9, 4 / 255)
    assert changed.regime == before.run(run).train.regime and after.run(run).model == before.run(run).model
    assert {name: each for name, each in after.runs.items() if name != run} == {
        name: each for name, each in before.runs.items() if name != run
    }
    old, new = written.decode().splitlines(), path.read_text().splitlines()
    assert len([line for line in old if line not in new]) <= 2
    assert sum("#" in line for line in new) == sum("#" in line for line in old)


def test_every_regime_that_can_follow_gets_its_section_and_the_old_one_goes(params: Path) -> None:
    values = run_values(load_params(params), "ssm")
    for regime in ("trades", "mart", "yopo", "jacobian", "standard", "trades", "pgd_at"):
        write_edit(edit_run(params, "ssm", {**values, "regime": regime}))
        train = load_params(params).run("ssm").train
        assert train.regime == regime
        for name in TrainParams.model_fields.keys() & REGIMES.keys():
            assert (getattr(train, name) is not None) == (name == regime)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("epochs", "0", "epochs"),
        ("epochs", "many", "epochs"),
        ("epochs", "", "epochs: '' is not a value"),
        ("eps", "[1", "eps: .* is not a value"),
        ("eps", "3", "eps"),
        ("seed", "-1", "seed"),
        ("regime", "pgd", "regime"),
        ("regime", "fgsm", "steps"),
    ],
)
def test_values_that_do_not_fit_are_refused_in_one_line_and_nothing_is_written(
    params: Path, name: str, text: str, problem: str
) -> None:
    before = params.read_bytes()
    with pytest.raises(UserError, match=problem) as refused:
        edit_run(params, "ads", {**run_values(load_params(params), "ads"), name: text})
    assert "\n" not in str(refused.value) and params.read_bytes() == before


def test_an_edit_that_changes_nothing_has_no_diff_and_one_of_a_file_that_changed_is_refused(params: Path) -> None:
    values = run_values(load_params(params), "ads")
    assert edit_run(params, "ads", values).diff == ""
    edit = edit_run(params, "ads", {**values, "epochs": "3"})
    assert "+    train: {epochs: 3}" in edit.diff
    params.write_text(params.read_text() + "# mine\n")
    with pytest.raises(UserError, match="has changed meanwhile"):
        write_edit(edit)


def test_a_run_of_a_grid_is_edited_only_after_it_was_written_out(params: Path) -> None:
    text = params.read_text()
    start, end = text.index("runs:"), text.index("attack:")
    params.write_text(text[:start] + "grid: {seeds: [0, 1]}\n" + text[end:].partition("claims:")[0] + "claims: []\n")
    params.write_text(params.read_text() + "report: {title: a grid}\n")
    values = run_values(load_params(params), "s1")
    with pytest.raises(UserError, match=r"grid: run s1 is made by it; .*`ssmlab use NAME`"):
        edit_run(params, "s1", {**values, "epochs": "3"})


def test_an_edit_that_would_change_another_run_by_an_alias_is_refused(params: Path) -> None:
    params.write_text(params.read_text().replace("  ssm: {}\n", "  ssm: &own {train: {seed: 1}}\n  also: *own\n"))
    values = run_values(load_params(params), "also")
    with pytest.raises(UserError, match=r"runs\.also: ssm would change too, by an alias"):
        edit_run(params, "also", {**values, "epochs": "3"})


def test_an_edit_writes_colons_inside_brackets_in_quotes(params: Path) -> None:
    """Some of DVC's parsers refuse them without, and reading and writing drops the user's own quotes."""
    text = params.read_text()
    params.write_text(text.replace("measures: [clean", 'measures: ["ro_gap:fgsm", clean', 1))
    assert '["ro_gap:fgsm"' in params.read_text()
    write_edit(edit_run(params, "ssm", {**run_values(load_params(params), "ssm"), "epochs": "3"}))
    assert '["ro_gap:fgsm"' in params.read_text()
