"""Reading params.yaml: every error is one line that names the file, the key and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ssmlab.errors import UserError
from ssmlab.params import Params


def load_params(path: Path) -> Params:
    """Read a study.

    Raises:
        UserError: the file is missing, is not YAML, has no runs, or breaks the schema; the message is one line that
            names the file, the key and what is wrong with it.
    """
    return parse_params(read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file, unchecked; raises UserError where there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            value = YAML(typ="safe", pure=True).load(file)
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run ssmlab in the project's folder, or see `ssmlab use`") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not YAML{where}: {getattr(error, 'problem', None) or 'cannot be parsed'}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a study: a mapping of sections (study, prepare, model, ...) is needed")
    return value


def parse_params(raw: Mapping[str, Any], source: str) -> Params:
    """Check a study that has been read; `source` is what errors call it. Raises UserError as `load_params` does."""
    sections = dict(raw)
    for shared in ("model", "train"):
        if not isinstance(sections.get(shared), Mapping):
            raise UserError(f"{source}: {shared}: a section that the runs share is needed")
    model, train, runs = sections.pop("model"), sections.pop("train"), sections.get("runs")
    if not isinstance(runs, Mapping) or not runs:
        raise UserError(f"{source}: runs: the study has no runs; add at least one, for example `runs: {{ssm: {{}}}}`")
    base = {"model": model, "train": train}
    sections["runs"] = {
        str(name): merged(base, {} if changes is None else changes, f"{source}: runs.{name}")
        for name, changes in runs.items()
    }
    try:
        return Params.model_validate(sections)
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, runs)}") from None


def merged(base: Mapping[str, Any], changes: Any, where: str) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping; null takes a section away. Neither is altered."""
    if not isinstance(changes, Mapping):
        raise UserError(f"{where}: a mapping of changes to `model` and `train` is needed")
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        if isinstance(below, Mapping) and value is not None:
            value = merged(below, value, f"{where}.{key}")
        result[key] = value
    return result


def first_problem(error: ValidationError, runs: Mapping[str, Any]) -> str:
    """One line for the first thing that is wrong, at the key where the user wrote it, and how many others there are."""
    lines = list(dict.fromkeys(describe(problem, runs) for problem in error.errors()))
    return lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "")


def describe(problem: ErrorDetails, runs: Mapping[str, Any]) -> str:
    """What pydantic found, as `key: what is needed (what it is)`."""
    path = [str(part) for part in problem["loc"]]
    if path[:2] == ["attack", "attacks"]:
        del path[3:4]  # pydantic's name for the branch of the union, which no user has written
    kind, context = problem["type"], problem.get("ctx", {})
    place = path[2:-1] if kind == "missing" else path[2:]
    if path[:1] == ["runs"] and len(path) > 2 and not written_in(runs.get(path[1]), place):
        path = path[2:]  # it was not the run that said it, so the key to mend is in the shared section
    if kind == "extra_forbidden":
        text = "unknown key; remove it or correct its spelling"
    elif kind == "missing":
        text = "this key is missing"
    else:
        text = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if kind.startswith("union_tag"):
            path, text = (
                [*path, "kind"],
                "must be one of " + context.get("expected_tags", "'fgsm', 'pgd', 'autoattack'"),
            )
        elif isinstance(problem["input"], (str, int, float)):
            text += f" (it is {problem['input']!r})"
    return ".".join(path) + ": " + text if path else text


def written_in(value: Any, path: list[str]) -> bool:
    """Whether the nested mapping `value` itself says something at `path`."""
    for part in path:
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True
