"""The stages of dvc.yaml, and the names of stages for the runs of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssmlab.core.errors import UserError
from ssmlab.core.stage_code import StageName
from ssmlab.core.text import hint, printable
from ssmlab.params import Params
from ssmlab.project.params_file import read_yaml

RUN_STAGES: tuple[StageName, ...] = ("train", "attack", "probe")  # of one run; the other stages are for the whole study


def stages_of(params: Params, root: Path) -> list[str]:
    """The stages of `root`/dvc.yaml in the file's order, a `foreach` over the study's runs written out: `train@ads`.

    Raises UserError if dvc.yaml is missing or cannot be read.
    """
    runs = list(params.runs)
    return [name for stage, spec in stage_specs(root).items() for name in instances(stage, spec, runs)]


def resolve(targets: Sequence[str], params: Params, root: Path) -> tuple[str, ...]:
    """DVC's names for `targets`: runs, groups of runs or stages; a run stands for its own stages.

    Raises UserError for unknown ones.
    """
    specs = stage_specs(root)
    known = stages_of(params, root)
    names: list[str] = []
    for target in targets:
        if runs := params.runs_named(target):
            names += [f"{stage}@{run}" for run in runs for stage in RUN_STAGES if f"{stage}@{run}" in known]
        elif target in known or target in specs:
            names.append(target)
        else:
            names_known = [*params.groups, *params.runs, *specs, *known]
            raise UserError(f"no run, group or stage '{printable(target, 80)}' ({hint(target, names_known)})")
    return tuple(dict.fromkeys(names))


def stage_specs(root: Path) -> dict[str, Any]:
    """The `stages` section of dvc.yaml; raises UserError if there is none."""
    path = root / "dvc.yaml"
    stages = read_yaml(path).get("stages")
    if not isinstance(stages, dict):
        raise UserError(f"{path}: stages: the pipeline has no stages")
    return stages


def instances(stage: str, spec: Any, runs: list[str]) -> list[str]:
    """The stage names of one entry of dvc.yaml; an interpolated `foreach` (`${runs}`) is over the study's runs."""
    if not isinstance(spec, dict) or "foreach" not in spec:
        return [stage]
    over = spec["foreach"]
    return [f"{stage}@{item}" for item in (runs if isinstance(over, str) else over)]
