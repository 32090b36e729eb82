"""dvc.yaml against the code: a stage depends on exactly the modules it can import and the params it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from ssmlab.params import Params
from ssmlab.pipeline.analyze import analyze
from ssmlab.pipeline.attack import attack
from ssmlab.pipeline.paths import Paths
from ssmlab.pipeline.prepare import prepare
from ssmlab.pipeline.report import report
from ssmlab.pipeline.train import train

STAGES = ["prepare", "train", "attack", "analyze", "report"]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("ssmlab", exclude_type_checking_imports=True, cache_dir=None)


def stage(project: Path, name: str) -> dict[str, Any]:
    described = YAML(typ="safe").load(project / "dvc.yaml")["stages"][name]
    return dict(described.get("do", described))


def files_of(project: Path, module: str) -> list[str]:
    """A module's file, and the table beside it that it reads, if there is one."""
    path = Path(*module.split("."))
    package = path / "__init__.py"
    files = [package if (project / package).is_file() else path.with_suffix(".py"), path.with_suffix(".toml")]
    return [file.as_posix() for file in files if (project / file).is_file()]


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_the_import_closure(name: str, project: Path, imports: grimp.ImportGraph) -> None:
    start = f"ssmlab.pipeline.{name}"
    modules = {start} | imports.find_upstream_modules(start)
    needed = sorted(file for module in modules for file in files_of(project, module))
    listed = sorted(dep for dep in stage(project, name)["deps"] if dep.startswith("ssmlab/"))
    assert listed == needed, f"dvc.yaml, stage {name}: the deps under ssmlab/ must be\n" + "\n".join(
        f"      - {file}" for file in needed
    )


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_depends_on_the_user_interface(name: str, project: Path) -> None:
    for dep in stage(project, name)["deps"]:
        assert not dep.startswith(("ssmlab/cli", "ssmlab/console", "ssmlab/tui"))


@pytest.mark.parametrize("name", STAGES)
def test_outputs_persist(name: str, project: Path) -> None:
    """DVC deletes other outputs before a stage runs, and an interrupted stage would lose the earlier results."""
    for out in stage(project, name)["outs"]:
        assert [settings["persist"] for settings in out.values()] == [True]


class Recorder:
    """Stands in for Params and notes which sections are asked for."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.seen: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.seen.add(name)
        return getattr(self.params, name)


def test_params_are_what_the_stages_read(project: Path, tiny_params: Params, tmp_path: Path) -> None:
    raw = tiny_params.plain()
    del raw["runs"]["attention"]
    raw["attack"]["attacks"] = {"fgsm": raw["attack"]["attacks"]["fgsm"]}
    raw["analyze"]["claims"] = []
    for run in raw["runs"].values():
        run["train"]["epochs"] = 1
    params, paths = Params.model_validate(raw), Paths("smoke", tmp_path)
    read: dict[str, set[str]] = {}

    def record(name: str, work: Callable[..., None], *arguments: Any) -> None:
        recorder = Recorder(params)
        work(recorder, *arguments)
        read[name] = recorder.seen

    record("prepare", prepare, paths)
    for run in params.runs:
        record("train", train, run, paths)
        record("attack", attack, run, paths)
    record("analyze", analyze, paths)
    record("report", report, paths)
    for name, seen in read.items():
        listed = set(stage(project, name)["params"])
        if "run" in seen:  # a run is its own changes laid over the sections that all runs share
            seen = seen - {"run"} | {"model", "train", "runs.${key}"}
        assert seen <= listed, f"dvc.yaml, stage {name}: params must list {sorted(seen)}"
        assert listed - seen <= {"study"}, f"dvc.yaml, stage {name}: {sorted(listed - seen)} is never read"


def test_the_default_study_is_a_study(project: Path) -> None:
    assert (project / "params.yaml").read_bytes() == (project / "studies" / "mnist5k.yaml").read_bytes()
