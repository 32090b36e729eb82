"""A study as it is written to params.yaml: with settings inserted, and its grid as runs, because DVC knows no grid."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file
from ssmlab.core.plain_values import value_at
from ssmlab.core.text import nearest
from ssmlab.project.params_file import expanded, parse_params, plain_yaml, read_text, read_yaml

WIDEST = 79  # columns; longer lines in flow style are folded by DVC


def expanded_params_yaml(study: Path, settings: Mapping[str, str] | None = None) -> bytes:
    """The bytes of params.yaml for the study in a file of studies/: the file itself if it has no grid and no settings.

    Args:
        settings: values by dotted key, as they would be written in YAML: `{"data.source": "../cifar.tar.xz"}`.

    Raises:
        UserError: the study is missing or not YAML, its grid is not valid, or a setting does not fit.
    """
    raw = read_yaml(study)
    if "grid" not in raw and not settings:
        return read_file(study)
    yaml = params_writer()
    document = yaml.load(read_text(study))
    for key, value in (settings or {}).items():
        put(document, key, value)
    quote_colons(document)
    if "grid" in document:
        write_runs_out(document, expanded(raw, str(study))[0]["runs"], study)
    text = io.StringIO()
    yaml.dump(document, text)
    if settings:
        parse_params(plain_yaml(text.getvalue()), f"{study} with {spelled(settings)}")
    return (with_one_blank_line(text.getvalue()) if "grid" in raw else text.getvalue()).encode()


def with_one_blank_line(text: str) -> str:
    """The text with exactly one blank line before and after the runs; without the grid there may be more or none."""
    text = re.sub(r"\n{3,}", "\n\n", text)
    return re.sub(r"(?m)(^runs:.*\n(?:[ #].*\n)+)(?=\S)", r"\1\n", text)


def params_writer() -> YAML:
    """Reads and writes params.yaml with its comments, in DVC's format, so that `dvc exp run -S` changes values only."""
    yaml = YAML()
    yaml.default_flow_style = False
    return yaml


def put(document: CommentedMap, key: str, value: str) -> None:
    """Set one dotted key of a study to a value as YAML writes it; raises UserError if there is no such section."""
    *sections, last = key.split(".")
    place = value_at(document, sections)
    if not isinstance(place, CommentedMap) or not sections:
        known = [name for name, section in document.items() if isinstance(section, CommentedMap)]
        near = nearest(sections[0], known) if sections and sections[0] not in known else None
        way = f"did you mean '{near}'?" if near else "name a key as in data.source or train.epochs"
        raise UserError(f"--set {key}: there is no such section; {way}")
    try:
        place[last] = plain_yaml(value)
    except ValueError:
        raise UserError(f"--set {key}: '{value}' is not a YAML value; put it in quotes") from None


def quote_colons(value: Any, flow: bool = False) -> None:
    """Put texts with a colon inside [ ] and { } in quotes; some of DVC's parsers refuse them without."""
    if not isinstance(value, CommentedMap | CommentedSeq):
        return
    flow = flow or bool(value.fa.flow_style())
    for key, below in value.items() if isinstance(value, CommentedMap) else enumerate(value):
        if flow and isinstance(below, str) and ":" in below:
            value[key] = DoubleQuotedScalarString(below)
        quote_colons(below, flow)


def write_runs_out(document: CommentedMap, runs: Mapping[str, Any], study: Path) -> None:
    """Replace the grid by its runs, each on one line if it fits, at the grid's place."""
    place = list(document).index("grid")
    del document["grid"]
    document.pop("runs", None)
    document.ca.items.pop("runs", None)  # or its comments would stay at the new runs
    lines = CommentedMap()
    for name, changes in runs.items():
        lines[name] = flow_or_block(changes or {}, f"  {name}: ")
    document.insert(min(place, len(document)), "runs", lines)
    document.yaml_set_comment_before_after_key(
        "runs", before=f"\nwritten out by `ssmlab use` from the grid in {study.name}"
    )


def flow_or_block(value: Any, before: str) -> Any:
    """A nested value in YAML's flow style if it fits on the line that starts with `before`; else a key on each line."""
    if not isinstance(value, Mapping):
        return value
    if len(before) + len(flow_text(value)) <= WIDEST:
        return in_flow_style(value)
    indent = " " * (len(before) - len(before.lstrip()) + 2)
    return CommentedMap({key: flow_or_block(below, f"{indent}{key}: ") for key, below in value.items()})


def in_flow_style(value: Any) -> Any:
    """The value with every mapping in it in YAML's flow style."""
    if not isinstance(value, Mapping):
        return value
    flow = CommentedMap({key: in_flow_style(below) for key, below in value.items()})
    flow.fa.set_flow_style()
    return flow


def flow_text(value: Mapping[str, Any]) -> str:
    """The value in flow style on one line."""
    text, yaml = io.StringIO(), YAML()
    yaml.width = 1 << 20
    yaml.dump(in_flow_style(value), text)
    return text.getvalue().strip()


def spelled(settings: Mapping[str, str]) -> str:
    """Settings as options of the command line."""
    return " ".join(f"--set {key}={value}" for key, value in settings.items())
