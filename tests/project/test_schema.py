"""The JSON schema of params.yaml accepts every shipped study, refuses what ssmlab refuses, and is what editors read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.params_file import plain_yaml, read_yaml
from ssmlab.project.schema import SCHEMA_FILE, params_schema, schema_text

VALIDATOR = Draft202012Validator(params_schema())
PROJECT = Path(__file__).resolve().parents[2]
STUDIES = [PROJECT / "params.yaml", *sorted((PROJECT / "studies").glob("*.yaml"))]


def problems(value: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(value)]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(params_schema())


def test_the_shipped_schema_is_the_one_that_the_params_give(project: Path) -> None:
    shipped = project / "studies" / SCHEMA_FILE
    again = f"write it again: ssmlab schema > studies/{SCHEMA_FILE}"
    assert shipped.read_text(encoding="utf-8") == schema_text(), again
    assert (project / SCHEMA_FILE).read_bytes() == shipped.read_bytes()


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_fits_the_schema_as_it_is_and_written_out(study: Path) -> None:
    assert problems(read_yaml(study)) == []
    assert problems(plain_yaml(expanded_params_yaml(study).decode())) == []


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_the_first_line_of_every_study_leads_an_editor_to_the_schema(study: Path) -> None:
    """The path is relative to the file that is shown, and stays when `ssmlab use` copies or expands a study."""
    first = study.read_text(encoding="utf-8").partition("\n")[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA_FILE}"
    assert (study.parent / SCHEMA_FILE).is_file()
    assert expanded_params_yaml(study).decode().startswith(first + "\n")
    changed = expanded_params_yaml(study, {"report.title": "another"}).decode()
    assert changed.startswith(first + "\n")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("train", "epochs"), 0),
        (("train", "epochs"), "ten"),
        (("train", "regime"), "pgd"),
        (("train", "adversary", "eps"), "eight"),
        (("train", "epoch"), 3),
        (("model", "mixer"), "s3"),
        (("runs", "ssm"), {"trian": {}}),
        (("runs", "ssm"), {"model": {"layers": 0}}),
        (("attack", "attacks", "fgsm", "kind"), "fgm"),
        (("data", "validation"), -1),
    ],
)
def test_a_mistake_is_refused(project: Path, place: tuple[str, ...], value: Any) -> None:
    study = read_yaml(project / "studies" / "smoke.yaml")
    *sections, last = place
    section = study
    for name in sections:
        section = section[name]
    section[last] = value
    assert problems(study)


@pytest.mark.parametrize("missing", ["study", "data", "model", "train", "runs", "attack", "report"])
def test_a_missing_section_is_refused(project: Path, missing: str) -> None:
    study = read_yaml(project / "studies" / "smoke.yaml")
    del study[missing]
    assert problems(study)
