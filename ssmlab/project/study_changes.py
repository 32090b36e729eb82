"""What using another study would change in params.yaml, key by key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmlab.core.errors import UserError
from ssmlab.core.plain_values import dotted_leaves
from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.params_file import plain_yaml, read_yaml

TELLING = (  # the keys that say most about a study
    "study",
    "report.title",
    "data.name",
    "model.mixer",
    "model.d_model",
    "train.regime",
    "train.epochs",
    "train.adversary.eps",
    "attack.eps",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One dotted key of params.yaml, with its value before and after as text; None if the key is missing."""

    key: str
    old: str | None
    new: str | None


def study_changes(current: Path | None, target: Path, settings: Mapping[str, str] | None = None) -> list[Change]:
    """What using the study in `target`, with `settings` inserted, would change in `current`.

    Values are compared as they are written (`1` is not `1.0`, and `8/255` is text); a list is one value. If the current
    file is missing or cannot be read, every key of the target is new.

    Raises:
        UserError: the target is missing or not YAML, or a setting does not fit.
    """
    new = flat(plain_yaml(expanded_params_yaml(target, settings).decode()))
    try:
        old = flat(read_yaml(current)) if current is not None else {}
    except UserError:
        old = {}
    keys = [*new, *(key for key in old if key not in new)]
    return [Change(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]


def most_telling(changes: Sequence[Change], most: int, asked: Iterable[str] = ()) -> list[Change]:
    """The changes, or if they are more than `most`, those of TELLING and of the keys that the user has `asked` for."""
    if len(changes) <= most:
        return list(changes)
    return [change for change in changes if change.key in (*asked, *TELLING)]


def flat(value: Mapping[str, Any]) -> dict[str, str]:
    """A nested mapping as dotted keys with their values as text."""
    return {key: as_text(below) for key, below in dotted_leaves(value)}


def as_text(value: Any) -> str:
    """A YAML value on one line; a date, which JSON does not know, as ISO text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
