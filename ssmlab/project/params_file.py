"""Reading params.yaml: every error is one line that names the file, the key and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file
from ssmlab.core.plain_values import check_plain
from ssmlab.core.text import nearest, printable
from ssmlab.core.validation import at_key, first_problem
from ssmlab.params import GridParams, GridRun, Params, Strict
from ssmlab.project.quick_yaml import NotOrdinaryError, quick_yaml

LARGEST_PARAMS = 16 * 2**20  # bytes; 1,000 runs written out have less than one MiB

if TYPE_CHECKING:
    from ruamel.yaml.error import YAMLError


class WithGrid(Strict):
    """The section `grid` of a study."""

    grid: GridParams


class NotYamlError(ValueError):
    """A text is not YAML. The message says at which line, and why."""


def load_params(path: Path) -> Params:
    """Read a study.

    Raises:
        UserError: the file is missing, is not YAML, has no runs, or breaks the schema; the message is one line that
            names the file, the key and what is wrong with it.
    """
    return params_of(read_text(path), str(path))


@lru_cache(maxsize=1)
def params_of(text: str, source: str) -> Params:
    """The study in a text, cached: at its end, a stage checks whether params.yaml is still the same."""
    return parse_params(yaml_mapping(text, source), source)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file, unchecked; raises UserError if there is none."""
    return yaml_mapping(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file of the project; raises UserError if there is none."""
    try:
        text = read_file(path, LARGEST_PARAMS).decode()
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found; run ssmlab in a project's folder, make one with `ssmlab new FOLDER`, or see "
            "`ssmlab use`"
        ) from None
    except OSError as error:
        raise UserError(cannot(path, "read", error)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from None


def yaml_mapping(text: str, source: str) -> dict[str, Any]:
    """The mapping in a YAML text, unchecked; errors call it `source`. Raises UserError if there is none."""
    try:
        value = plain_yaml(text)
    except NotYamlError as error:
        raise UserError(f"{source}: {error}") from None
    except ValueError as error:
        raise unreadable(source, error) from None
    if not isinstance(value, dict):
        raise UserError(
            f"{source}: not a study: a mapping of sections (study, data, model, ...) is needed; `ssmlab use` lists the "
            "studies that there are"
        )
    return value


def unreadable(source: str, error: ValueError) -> UserError:
    return UserError(f"{source}: cannot be read: {printable(str(error), 200)}")


def plain_yaml(text: str) -> Any:
    """The value of a YAML 1.2 text, if a JSON file could hold it too.

    Raises NotYamlError if it is not YAML, ValueError if it holds what JSON cannot, such as a date or a loop of aliases.
    """
    try:
        value = quick_yaml(text)
    except NotOrdinaryError:
        value = any_yaml(text)
    check_plain(value)
    return value


def any_yaml(text: str) -> Any:
    """The value of a YAML 1.2 text, by ruamel.yaml; raises NotYamlError, or ValueError for a value not allowed."""
    from ruamel.yaml import YAML  # imported here: few files need it
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        where, problem = place_and_problem(error)
        raise NotYamlError(f"not YAML{where}: {problem}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except (TypeError, AttributeError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(f"it has a value that YAML does not allow ({error})") from None  # ruamel.yaml's own failures


def place_and_problem(error: YAMLError) -> tuple[str, str]:
    """The place of an error of ruamel.yaml (` at line 3`, or empty if it gives none), and the problem."""
    mark = getattr(error, "problem_mark", None)
    return f" at line {mark.line + 1}" if mark else "", getattr(error, "problem", None) or "cannot be parsed"


def parse_params(raw: Mapping[str, Any], source: str) -> Params:
    """Check a study that has been read; errors call it `source`. Raises UserError as `load_params` does."""
    sections, grid_runs = expanded(raw, source)
    for shared in ("model", "train"):
        if not isinstance(sections.get(shared), Mapping):
            raise UserError(f"{source}: {without_section(sections, shared)}")
    model, train, runs = sections.pop("model"), sections.pop("train"), sections.get("runs")
    if not isinstance(runs, Mapping) or not runs:
        raise UserError(f"{source}: runs: the study has no runs; add at least one, for example `runs: {{ssm: {{}}}}`")
    for name in runs:
        if not isinstance(name, str):
            problem = "cannot be a run's name: YAML takes it for a value"
            raise UserError(f"{source}: runs: '{name}' {problem}; name it run-{str(name).lower().replace('.', '-')}")
    base = {"model": model, "train": train}
    sections["runs"] = {
        str(name): merged(base, changes_of_run(changes, f"{source}: runs.{name}")) for name, changes in runs.items()
    }
    try:
        return Params.model_validate(sections)
    except ValidationError as error:
        raise UserError(
            f"{source}: {first_problem(error, Params, partial(at_its_place, runs=runs, grid_runs=grid_runs))}"
        ) from None


def expanded(raw: Mapping[str, Any], source: str) -> tuple[dict[str, Any], dict[str, GridRun]]:
    """A study whose `grid`, if there is one, is expanded to `runs`; and the runs of the grid, by name.

    Raises:
        UserError: the grid is not valid, or names a run that `runs` has too; the line names `source` and the key.
    """
    sections = dict(raw)
    if "grid" not in sections:
        return sections, {}
    try:
        grid = WithGrid.model_validate({"grid": sections.pop("grid")}).grid
    except ValidationError as error:
        raise UserError(f"{source}: {first_problem(error, WithGrid)}") from None
    made = {run.name: run for run in grid.runs()}
    written = sections.get("runs") or {}
    if not isinstance(written, Mapping):
        raise UserError(f"{source}: runs: a mapping of names to changes is needed")
    if twice := sorted(made.keys() & {str(name) for name in written}):
        raise UserError(f"{source}: runs.{twice[0]}: the grid makes a run of this name too; give it another one")
    sections["runs"] = {**written, **{name: grid.changes(run) for name, run in made.items()}}
    return sections, made


def without_section(sections: Mapping[str, Any], shared: str) -> str:
    """What is wrong with a study that lacks a section which all runs share: perhaps only the section's name."""
    known = (*Params.model_fields, "model", "train")
    misspelt = next((key for key in map(str, sections) if key not in known and nearest(key, known) == shared), None)
    if shared not in sections and misspelt is not None:
        return at_key([misspelt], f"unknown key; did you mean '{shared}'?")
    return f"{shared}: this section, which all runs share, is missing; copy it from a file in studies/"


def changes_of_run(changes: Any, where: str) -> Mapping[str, Any]:
    """The changes of a run, which is at `where`; none if nothing is written. Raises UserError if it is no mapping."""
    if changes is None:
        return {}
    if not isinstance(changes, Mapping):
        raise UserError(f"{where}: a mapping of changes to `model` and `train` is needed")
    return changes


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` updated with `changes`, mapping by mapping; any other value replaces. Neither of the two is changed."""
    result = dict(base)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result


def at_its_place(problem: ErrorDetails, text: str, runs: Mapping[str, Any], grid_runs: Mapping[str, GridRun]) -> str:
    """The text of a problem at the key where the user wrote it: in a run, a shared section or the grid."""
    path = [str(part) for part in problem["loc"]]
    if path[:2] == ["attack", "attacks"]:
        del path[3:4]  # pydantic's name for the member of the union, which is not in the user's file
    kind = problem["type"]
    if kind == "missing" and len(path) == 1:
        return f"{path[0]}: this section is missing; copy it from a file in studies/, or run `ssmlab use`"
    place = path[2:-1] if kind == "missing" else path[2:]
    if path[:1] == ["runs"] and len(path) > 2 and not written_in(runs.get(path[1]), place):
        path = path[2:]  # it is not set in the run, so the key to fix is in the shared section
    elif path[:1] == ["runs"] and len(path) > 2 and path[1] in grid_runs:
        path = place_in_grid(grid_runs[path[1]], path[2:])
    if kind.startswith("union_tag"):
        path = [*path, "kind"]
    return at_key(path, text)


def place_in_grid(run: GridRun, path: list[str]) -> list[str]:
    """The place in the grid that sets `path` of one of its runs; `path` starts with `model` or `train`."""
    if path == ["train", "seed"] and run.seed is not None:
        return ["grid", "seeds"]
    axis, name = ("models", run.model) if path[0] == "model" else ("regimes", run.regime)
    return ["grid", axis, str(name), *path[1:]]


def written_in(value: Any, path: list[str]) -> bool:
    """Whether the nested mapping `value` has something at `path`."""
    for part in path:
        if not isinstance(value, Mapping):
            return False
        named = {str(key): below for key, below in value.items()}  # YAML's keys may be numbers
        if part not in named:
            return False
        value = named[part]
    return True
