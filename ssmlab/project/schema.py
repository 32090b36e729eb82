"""The JSON schema of params.yaml and of the files in studies/, for editors."""

from __future__ import annotations

import copy
import json
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from ssmlab.params import GridParams, Params, RunParams

SCHEMA_FILE = "params.schema.json"  # next to params.yaml and in studies/; the first line of every study names it
DRAFT = "https://json-schema.org/draft/2020-12/schema"
FRACTION = r"^\s*[-+0-9.eE]+\s*(/\s*[-+0-9.eE]+\s*)?$"


class ParamsSchema(GenerateJsonSchema):
    """Pydantic's generator, with eps and alpha as people write them: `0.1` or `8/255`."""

    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:  # noqa: ARG002
        """A `WrittenFloat`, the only type here that a function reads."""
        return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": FRACTION}]}


def params_schema() -> dict[str, Any]:
    """The schema of a study as it is written: shared sections, and runs or a grid that change them."""
    schema = TypeAdapter(Params).json_schema(schema_generator=ParamsSchema)
    runs = TypeAdapter(RunParams).json_schema(schema_generator=ParamsSchema)
    grid = TypeAdapter(GridParams).json_schema(schema_generator=ParamsSchema)
    definitions = schema["$defs"] | runs["$defs"] | grid.pop("$defs", {})
    changes = {
        f"{name}Changes": changed(definitions[name]) for name in reachable(definitions, "ModelParams", "TrainParams")
    }
    schema["$defs"] = definitions | changes
    run = {section: {"$ref": f"#/$defs/{model}Changes"} for section, model in SECTIONS.items()}
    properties = schema["properties"]
    properties |= {section: {"$ref": f"#/$defs/{model}"} for section, model in SECTIONS.items()}
    properties["runs"] = {
        "type": "object",
        "description": "What each run changes in the shared sections `model` and `train`.",
        "additionalProperties": {
            "anyOf": [{"type": "object", "properties": run, "additionalProperties": False}, {"type": "null"}]
        },
    }
    properties["grid"] = grid
    schema["required"] = [name for name in schema["required"] if name != "runs"] + list(SECTIONS)
    schema["anyOf"] = [{"required": ["runs"]}, {"required": ["grid"]}]
    return {"$schema": DRAFT, "title": "params.yaml of ssmlab", **{k: v for k, v in schema.items() if k != "title"}}


def schema_text() -> str:
    """The text of studies/params.schema.json, which `ssmlab schema` prints too."""
    return json.dumps(params_schema(), indent=1, ensure_ascii=False) + "\n"


SECTIONS = {"model": "ModelParams", "train": "TrainParams"}


def reachable(definitions: dict[str, Any], *names: str) -> list[str]:
    """The definitions that these definitions refer to, including themselves."""
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += references(definitions[name])
    return found


def references(value: Any) -> list[str]:
    """The names of the definitions that a schema refers to."""
    if isinstance(value, dict):
        own = [value["$ref"].rpartition("/")[2]] if isinstance(value.get("$ref"), str) else []
        return own + [name for below in value.values() for name in references(below)]
    if isinstance(value, list):
        return [name for below in value for name in references(below)]
    return []


def changed(definition: dict[str, Any]) -> dict[str, Any]:
    """The schema of changes to a section: no key is required, sections in it are changes too, null removes one."""
    result: dict[str, Any] = copy.deepcopy(definition)
    result.pop("required", None)
    for name, below in result.get("properties", {}).items():
        result["properties"][name] = {"anyOf": [to_changes(below), {"type": "null"}]}
    return result


def to_changes(value: Any) -> Any:
    """A schema whose references point to the schemas of changes."""
    if isinstance(value, dict):
        return {key: f"{below}Changes" if key == "$ref" else to_changes(below) for key, below in value.items()}
    return [to_changes(below) for below in value] if isinstance(value, list) else value
