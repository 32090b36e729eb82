"""params.yaml as `ssmlab use` writes it means what the study in studies/ means, and DVC can read its runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml
from ruamel.yaml import YAML
from ruamel.yaml.main import CParser

from ssmlab.core.errors import UserError
from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.params_file import load_params, read_yaml
from ssmlab.project.pipeline import stages_of


def all_studies(project: Path) -> list[Path]:
    return sorted((project / "studies").glob("*.yaml"))


def test_every_study_means_the_same_written_out(project: Path, tmp_path: Path) -> None:
    for study in all_studies(project):
        written = tmp_path / "params.yaml"
        written.write_bytes(expanded_params_yaml(study))
        assert load_params(written) == load_params(study), study.name
        raw = read_yaml(written)
        assert "grid" not in raw
        assert list(raw["runs"]) == list(load_params(study).runs)
        if "grid" not in read_yaml(study):
            assert written.read_bytes() == study.read_bytes()


def test_writing_out_a_grid_keeps_everything_else_of_the_study(project: Path) -> None:
    study = project / "studies" / "regimes.yaml"
    before, after = (text.splitlines() for text in (study.read_text(), expanded_params_yaml(study).decode()))
    kept = [line for line in before if line not in after]
    grid = before[before.index(next(line for line in before if line.startswith("grid:"))) :]
    assert kept == [line for line in grid[: grid.index("")] if line not in after]
    runs = load_params(study).runs
    assert sum(line[2:].partition(":")[0] in runs for line in after) == 144


def test_settings_are_inserted_and_nothing_else_changes(project: Path) -> None:
    study = project / "studies" / "smoke.yaml"
    before, after = (
        text.splitlines()
        for text in (study.read_text(), expanded_params_yaml(study, {"data.source": "../a b"}).decode())
    )
    assert len(before) == len(after)
    [(old, new)] = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert old.split()[:2] == ["source:", "auto"]
    assert new.strip().startswith("source: ../a b")


def test_a_setting_is_read_as_yaml(project: Path, tmp_path: Path) -> None:
    written = tmp_path / "params.yaml"
    settings = {"train.epochs": "3", "train.adversary.eps": "8/255", "model.dropout": "0.5"}
    written.write_bytes(expanded_params_yaml(project / "studies" / "smoke.yaml", settings))
    run = load_params(written).runs["ssm"]
    assert (run.train.epochs, run.train.adversary.eps.text, run.model.dropout) == (3, "8/255", 0.5)


def rewritten_by_dvc(content: bytes, folder: Path) -> bytes:
    """`dvc exp run -S` reads params.yaml, sets its values and writes it all."""
    path = folder / "params.yaml"
    path.write_bytes(content)
    with modify_yaml(str(path)):
        pass
    return path.read_bytes()


def test_dvc_writes_a_study_again_as_it_is(project: Path, tmp_path: Path) -> None:
    for study in all_studies(project):
        content = study.read_bytes()
        assert rewritten_by_dvc(content, tmp_path) == content, study.name
        assert b" \n" not in content, study.name


@pytest.mark.parametrize("settings", [{}, {"train.batch_size": "32", "data.source": "../a b"}])
def test_dvc_writes_a_grid_written_out_again_as_it_is(project: Path, tmp_path: Path, settings: dict[str, str]) -> None:
    content = expanded_params_yaml(project / "studies" / "mnist5k.yaml", settings)
    assert rewritten_by_dvc(content, tmp_path) == content


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("data.sauce", "x", "data.sauce: unknown key"),
        ("train.epochs", "0", "--set train.epochs=0: train.epochs: must be greater"),
        ("dada.source", "x", "--set dada.source: there is no such section"),
        ("data.seed.x", "1", "--set data.seed.x: there is no such section"),
        ("study", "x", "--set study: there is no such section"),
        ("data.source", "[a", "--set data.source: '.a' is not a YAML value"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(key: str, value: str, says: str, project: Path) -> None:
    with pytest.raises(UserError, match=says) as caught:
        expanded_params_yaml(project / "studies" / "smoke.yaml", {key: value})
    assert "\n" not in str(caught.value)


def test_a_grid_that_is_not_valid_is_not_written_out(project: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text((project / "studies" / "regimes.yaml").read_text().replace("seeds: [0,", "seeds: [-1,"))
    with pytest.raises(UserError, match=r"broken\.yaml: grid\.seeds\.0"):
        expanded_params_yaml(broken)


def test_dvc_makes_a_stage_of_every_run_of_a_grid(project: Path, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_bytes((project / "dvc.yaml").read_bytes())
    (tmp_path / "params.yaml").write_bytes(expanded_params_yaml(project / "studies" / "regimes.yaml"))
    stages = stages_of(load_params(tmp_path / "params.yaml"), tmp_path)
    assert "train@ads-trades-s2" in stages
    assert len(stages) == 3 + 3 * 144
    raw = YAML(typ="safe").load((tmp_path / "params.yaml").read_text())  # as DVC reads it, whole and unexpanded
    assert len(raw["runs"]) == 144


def test_libyaml_reads_every_study_as_we_do(project: Path) -> None:
    """DVC uses it where it is installed, and it knows YAML 1.1 only: `[ro_gap:pgd]` is an error to it."""
    assert CParser is not None, "ruamel.yaml.clib is missing"
    for study in [project / "params.yaml", *all_studies(project)]:
        assert YAML(typ="safe").load(study.read_text()) == read_yaml(study), study.name


def test_a_colon_inside_brackets_is_written_in_quotes(project: Path, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    text = (project / "studies" / "regimes.yaml").read_text()
    study.write_text(text.replace("measures:\n    - ro_gap:pgd-10", "measures: [ro_gap:pgd-10]"))
    assert "[ro_gap:pgd-10]" in study.read_text()
    written = expanded_params_yaml(study).decode()
    assert '["ro_gap:pgd-10"]' in written
    assert YAML(typ="safe").load(written) == YAML(typ="safe", pure=True).load(written)
