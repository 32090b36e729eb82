"""The JSON schema of params.yaml accepts every shipped study and refuses what ssmlab refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ssmlab.project.params_file import read_yaml
from ssmlab.project.schema import params_schema

SCHEMA = params_schema()
TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}


def accepts(schema: Any, value: Any) -> bool:
    """Whether a value fits a schema; only the keywords that pydantic writes are known here."""
    if "$ref" in schema and not accepts(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], value):
        return False
    if any(kind in schema and not any(accepts(each, value) for each in schema[kind]) for kind in ("anyOf", "oneOf")):
        return False
    if ("const" in schema and value != schema["const"]) or ("enum" in schema and value not in schema["enum"]):
        return False
    return fits_type(schema, value) and fits_bounds(schema, value) and fits_parts(schema, value)


def fits_type(schema: Any, value: Any) -> bool:
    kind = schema.get("type")
    if kind in ("number", "integer"):
        return isinstance(value, int if kind == "integer" else (int, float)) and not isinstance(value, bool)
    return kind is None or isinstance(value, TYPES[kind])


def fits_bounds(schema: Any, value: Any) -> bool:
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None and len(value) >= schema.get("minLength", 0)
    if not isinstance(value, (int, float)):
        return True
    above, below = schema.get("exclusiveMinimum", value - 1), schema.get("exclusiveMaximum", value + 1)
    return schema.get("minimum", value) <= value <= schema.get("maximum", value) and above < value < below


def fits_parts(schema: Any, value: Any) -> bool:
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        if any(name not in value for name in schema.get("required", ())):
            return False
        for name, each in value.items():
            below = known.get(name, others)
            if below is False or (isinstance(below, dict) and not accepts(below, each)):
                return False
    if isinstance(value, list) and "items" in schema:
        return all(accepts(schema["items"], each) for each in value)
    return True


def test_every_shipped_study_fits_the_schema(project: Path) -> None:
    for study in [project / "params.yaml", *sorted((project / "studies").glob("*.yaml"))]:
        assert accepts(SCHEMA, read_yaml(study)), study.name


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
    assert not accepts(SCHEMA, study)


@pytest.mark.parametrize("missing", ["study", "data", "model", "train", "runs", "attack", "report"])
def test_a_missing_section_is_refused(project: Path, missing: str) -> None:
    study = read_yaml(project / "studies" / "smoke.yaml")
    del study[missing]
    assert not accepts(SCHEMA, study)
