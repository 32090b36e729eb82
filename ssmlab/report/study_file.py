"""study.yaml beside the report: all settings as they were measured, even if params.yaml or studies/ have changed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from ssmlab.analysis.summary import StudySettings, Summary
from ssmlab.params import RunParams

HEADER = "# The study as it was measured. The report beside this file says how to run it again.\n"


def study_yaml(title: str, summary: Summary, settings: StudySettings) -> str:
    """A params.yaml that reproduces these numbers."""
    runs = {run.name: RunParams(model=run.model, train=run.train).plain() for run in summary.runs}
    shared = next(iter(runs.values()))
    attacks = {
        name: settings.attack["attacks"][name] for name in summary.attacks
    }  # in the study's order: JSON sorted the names
    study = {
        "study": summary.study,
        "data": settings.data,
        **shared,
        "runs": {name: changes(shared, run) for name, run in runs.items()},
        "attack": {**settings.attack, "attacks": attacks},
        "probe": settings.probe,
        "analyze": settings.analyze,
        "report": {"title": title},
    }
    text = io.StringIO()
    writer = YAML()
    writer.width = 100
    writer.dump(study, text)
    return HEADER + text.getvalue()


def changes(shared: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that turn `shared` into `wanted`, level by level; None removes a key."""
    found: dict[str, Any] = {key: None for key in shared if key not in wanted}
    for key, value in wanted.items():
        below = shared.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            if inner := changes(below, value):
                found[key] = inner
        elif key not in shared or below != value:
            found[key] = value
    return found
