"""Completions after TAB in the shell: names of runs, studies and data sets; nothing if a file cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from ssmlab.core.errors import UserError

PARAMS = Path("params.yaml")


def run_names(incomplete: str) -> list[str]:
    """The runs of params.yaml."""
    from ssmlab.project.params_file import expanded, read_yaml

    with suppress(UserError):
        runs = expanded(read_yaml(PARAMS), "params.yaml")[0].get("runs")
        return matching(map(str, runs), incomplete) if isinstance(runs, Mapping) else []
    return []


def run_and_group_names(incomplete: str) -> list[str]:
    """The runs of params.yaml, and its groups of runs that differ only in their seed."""
    from ssmlab.project.params_file import load_params

    with suppress(UserError):
        params = load_params(PARAMS)
        return matching(dict.fromkeys([*params.runs, *params.groups]), incomplete)
    return []


def target_names(incomplete: str) -> list[str]:
    """The runs and groups of params.yaml and the stages of dvc.yaml."""
    from ssmlab.project.pipeline import stage_specs

    stages: list[str] = []
    with suppress(UserError):
        stages = matching(stage_specs(Path()), incomplete)
    return [*run_and_group_names(incomplete), *stages]


def entry_names(incomplete: str) -> list[str]:
    """The runs and groups of params.yaml, and STUDY/NAME of all attack results."""
    found = sorted(path.parent.parent.name + "/" + path.stem for path in Path("results").glob("*/attack/*.json"))
    return [*run_and_group_names(incomplete), *matching(found, incomplete)]


def study_names(incomplete: str) -> list[str]:
    """The files of studies/."""
    return matching(sorted(path.stem for path in Path("studies").glob("*.yaml")), incomplete)


def data_set_names(incomplete: str) -> list[str]:
    """The data sets that ssmlab knows."""
    from ssmlab.ingest.catalog import CATALOG

    return matching(CATALOG, incomplete)


def prepared_names(incomplete: str) -> list[str]:
    """The prepared data sets of data/."""
    return matching(sorted(path.stem for path in Path("data").glob("*.safetensors")), incomplete)


def matching(names: Iterable[str], incomplete: str) -> list[str]:
    """The names that start with what was typed."""
    return [name for name in names if name.startswith(incomplete)]
