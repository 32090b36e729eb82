"""dvc.yaml against the code: a stage depends on exactly the modules it can import and the params it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

STAGES = ["prepare", "train", "attack", "analyze", "report"]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("ssmlab", exclude_type_checking_imports=True, cache_dir=None)


def stage(project: Path, name: str) -> dict[str, Any]:
    described = YAML(typ="safe").load(project / "dvc.yaml")["stages"][name]
    return dict(described.get("do", described))


def file_of(project: Path, module: str) -> str:
    path = Path(*module.split("."))
    package = path / "__init__.py"
    return (package if (project / package).is_file() else path.with_suffix(".py")).as_posix()


@pytest.mark.parametrize("name", STAGES)
def test_code_dependencies_are_the_import_closure(name: str, project: Path, imports: grimp.ImportGraph) -> None:
    start = f"ssmlab.pipeline.{name}"
    modules = {start} | imports.find_upstream_modules(start)
    needed = sorted(file_of(project, module) for module in modules)
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


def test_the_default_study_is_a_study(project: Path) -> None:
    assert (project / "params.yaml").read_bytes() == (project / "studies" / "mnist5k.yaml").read_bytes()
