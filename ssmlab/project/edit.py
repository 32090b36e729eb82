"""Editing one run of params.yaml: comments stay, and the result is validated before it is written."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.core.plain_values import value_at
from ssmlab.core.text import listed, printable
from ssmlab.params import REGIMES, Params, TrainParams
from ssmlab.project.expand import params_writer, quote_colons
from ssmlab.project.launched import launch_lock
from ssmlab.project.params_file import load_params, parse_params, plain_yaml, read_text
from ssmlab.project.switch import refuse_while_running

# The fields of a run that can be edited, and their keys in the run.
RUN_FIELDS = {
    "epochs": ("train", "epochs"),
    "eps": ("train", "adversary", "eps"),
    "seed": ("train", "seed"),
    "regime": ("train", "regime"),
}


@dataclass(frozen=True)
class RunEdit:
    """A change of params.yaml that has not been written. before, after: the whole file."""

    path: Path
    run: str
    before: str
    after: str

    @property
    def diff(self) -> str:
        """The changed lines, as a unified diff without its heading; empty if there are none."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), n=1, lineterm="")
        return "\n".join(list(lines)[2:])


def run_values(params: Params, run: str) -> dict[str, str]:
    """The current values of a run's editable fields, as they are written in params.yaml."""
    plain = params.run(run).plain()
    return {name: str(value_at(plain, place)) for name, place in RUN_FIELDS.items()}


def edit_run(path: Path, run: str, values: Mapping[str, str]) -> RunEdit:
    """The edit of a params.yaml that gives `run` these values.

    A new regime gets the section that it needs, with its usual values, and the section of the old regime is removed.

    Raises:
        UserError: params.yaml cannot be read, has no such run, a value does not fit, or the edit would change other
            runs too; the message names the key.
    """
    params = load_params(path)
    now = run_values(params, run)
    wanted = {name: text.strip() for name, text in values.items() if text.strip() != now[name]}
    before = read_text(path)
    if not wanted:
        return RunEdit(path, run, before, before)
    yaml = params_writer()
    document = yaml.load(before)
    if run not in (document.get("runs") or {}):
        raise UserError(
            f"{path}: grid: run {run} is made by it; save the file as studies/NAME.yaml and run `ssmlab use NAME`, "
            "which writes the runs out"
        )
    if document["runs"][run] is None:
        document["runs"][run] = CommentedMap()
    changes = document["runs"][run]
    for name, text in wanted.items():
        put_at(changes, RUN_FIELDS[name], field_value(name, text))
    if "regime" in wanted:
        put_regime_sections(changes, params, run, wanted["regime"])
    quote_colons(document)
    output = io.StringIO()
    yaml.dump(document, output)
    edited = parse_params(plain_yaml(output.getvalue()), path.name)
    if also := [other for other in params.runs if other != run and edited.runs[other] != params.runs[other]]:
        raise UserError(f"{path}: runs.{run}: {listed(also)} would change too, by an alias; edit the file by hand")
    return RunEdit(path, run, before, output.getvalue())


def field_value(name: str, text: str) -> Any:
    """The value of a text that the user has typed, as YAML reads it; raises UserError if it is not a value."""
    try:
        value = plain_yaml(text)
    except ValueError:
        value = None
    if value is None or isinstance(value, (dict, list)):
        raise UserError(f"{name}: '{printable(text, 80)}' is not a value; write a number or a word")
    return value


def put_at(mapping: CommentedMap, place: Iterable[str], value: Any) -> None:
    """Set a value at a place of a nested mapping, and create missing sections."""
    *sections, last = place
    for section in sections:
        if not isinstance(mapping.get(section), CommentedMap):
            made = CommentedMap()
            made.fa.set_flow_style()
            mapping[section] = made
        mapping = mapping[section]
    mapping[last] = value


def put_regime_sections(changes: CommentedMap, params: Params, run: str, regime: str) -> None:
    """Give a run the section of its new regime, and remove the sections of other regimes."""
    plain = params.run(run).plain()["train"]
    for name in (name for name in REGIMES if name in TrainParams.model_fields):
        if name == regime and plain.get(name) is None:
            section = CommentedMap(REGIMES[name].usual)
            section.fa.set_flow_style()
            put_at(changes, ("train", name), section)
        elif name != regime and plain.get(name) is not None:
            put_at(changes, ("train", name), None)


def write_edit(edit: RunEdit) -> None:
    """Write an edit to params.yaml.

    Raises:
        UserError: something runs on this study, or the file has changed since the edit was made.
    """
    with launch_lock(edit.path.parent):
        refuse_while_running(edit.path)
        if read_text(edit.path) != edit.before:
            raise UserError(f"{edit.path}: it has changed meanwhile, so the edit was not written; edit it again")
        write_atomic(edit.path, edit.after)
