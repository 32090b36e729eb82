"""The smoke study with changes, and the error messages about them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from ssmlab.core.errors import UserError
from ssmlab.project.params_file import parse_params, read_yaml

SMOKE = read_yaml(Path(__file__).resolve().parents[2] / "studies" / "smoke.yaml")
REMOVED = object()


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The smoke study with dotted keys set to values, or REMOVED."""
    raw = copy.deepcopy(SMOKE)
    for key, value in changes:
        *parents, last = key.split(".")
        section = raw
        for parent in parents:
            section = section.setdefault(parent, {})
        if value is REMOVED:
            del section[last]
        else:
            section[last] = value
    return raw


def problem(*changes: tuple[str, Any]) -> str:
    """The error message for the changed smoke study, read from a file called study.yaml."""
    with pytest.raises(UserError) as caught:
        parse_params(changed(*changes), "study.yaml")
    text = str(caught.value)
    assert text.startswith("study.yaml: ")
    assert "\n" not in text
    return text
