"""dvc.yaml against the code: a stage depends on the folders that it imports from and on the params that it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from ssmlab.core.stage_code import PACKAGE, STAGE_CODE, StageName, source_files
from ssmlab.params import ATTACKS, MIXERS, REGIMES, Params
from ssmlab.params.paths import Paths
from ssmlab.project.expand import expanded_params_yaml
from ssmlab.stages.analyze import analyze
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.prepare import prepare
from ssmlab.stages.probe import probe
from ssmlab.stages.report import report
from ssmlab.stages.train.stage import train

STAGES = list(STAGE_CODE)


# What the folders of a stage contain that it does not import. A change there reruns the stage for nothing, so this list
# must stay short; a file that no stage imports belongs in another folder. `core` is a dependency as a whole everywhere:
# it is small, and all other packages need it.
NOT_IMPORTED = {
    "prepare": {"ingest/catalog.toml"},  # read as a file
    "train": set(),
    "attack": {
        "data/batches.py",
        "evaluation/transfer.py",  # of `ssmlab transfer`
        "evaluation/transfer_results.py",
        "nets/half_precision.py",
    },
    "probe": {"data/batches.py", "nets/half_precision.py"},
    "analyze": {"analysis/compare"},
    "report": {
        "analysis/compare",
        "analysis/metrics_and_plots.py",
        "analysis/summarize.py",
        "report/frames.py",
        "report/hub_folder.py",
        "report/model_card.py",
        "report/page.html.j2",
        "report/terminal",
    },
}


def stage(project: Path, name: str) -> dict[str, Any]:
    described = YAML(typ="safe").load(project / "dvc.yaml")["stages"][name]
    return dict(described.get("do", described))


def code_deps(project: Path, name: str) -> list[str]:
    return [dep.removeprefix("ssmlab/") for dep in stage(project, name)["deps"] if dep.startswith("ssmlab/")]


# The tables of names: the module that imports what they name, the package that it is below, and the table.
REGISTRIES: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("ssmlab.nets.build", "ssmlab.nets", MIXERS),
    ("ssmlab.training.regimes", "ssmlab.training.regimes", REGIMES),
    ("ssmlab.evaluation.kinds", "ssmlab.evaluation.kinds", ATTACKS),
)


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Which module imports which, the modules included that a registry names and that are imported by that name."""
    graph = grimp.build_graph("ssmlab", cache_dir=None)
    for importer, package, entries in REGISTRIES:
        for entry in entries.values():
            graph.add_import(importer=importer, imported=f"{package}.{entry.where.partition(':')[0]}")
    return graph


def imported_files(name: StageName, imports: grimp.ImportGraph) -> set[str]:
    """The files of every module that the stage can import, and of the packages they lie in."""
    start = f"ssmlab.stages.{name}" + (".stage" if name in ("train", "attack") else "")
    files = set()
    for module in {start} | imports.find_upstream_modules(start):
        path = PACKAGE.joinpath(*module.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        inits = (folder / "__init__.py" for folder in file.parents if folder.is_relative_to(PACKAGE))
        files |= {each.relative_to(PACKAGE).as_posix() for each in (file, *inits)}
    return files - {"__init__.py", "stages/__init__.py"}  # what every command imports, and nothing in it computes


@pytest.mark.parametrize("name", STAGES)
def test_dvc_yaml_names_the_code_that_the_package_says_a_stage_runs(name: StageName, project: Path) -> None:
    assert code_deps(project, name) == sorted(STAGE_CODE[name])


@pytest.mark.parametrize("name", STAGES)
def test_everything_a_stage_imports_is_among_its_dependencies(name: StageName, imports: grimp.ImportGraph) -> None:
    listed = {path.relative_to(PACKAGE).as_posix() for path in source_files(name)}
    missing = {file for file in imported_files(name, imports) - listed if (PACKAGE / file).read_bytes()}
    assert not missing, f"stage {name} imports files that dvc.yaml does not name"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_little_that_it_does_not_import(name: StageName, imports: grimp.ImportGraph) -> None:
    listed = {path.relative_to(PACKAGE).as_posix() for path in source_files(name)}
    surplus = {file for file in listed - imported_files(name, imports) if not file.startswith("core/")}
    not_imported = {file for file in surplus if (PACKAGE / file).read_bytes()}
    allowed = {each for each in NOT_IMPORTED[name] for file in not_imported if Path(file).is_relative_to(each)}
    assert {file for file in not_imported if not any(Path(file).is_relative_to(each) for each in allowed)} == set()
    assert allowed == NOT_IMPORTED[name], "the list names what is imported after all"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_the_package_of_its_own_folder(name: StageName, project: Path) -> None:
    """`python -m` imports from the folder it runs in, which DVC hashed; a console script imports the installed copy."""
    assert stage(project, name)["cmd"].startswith(f"python -m ssmlab {name}")


def test_dvc_ignores_exactly_what_the_fingerprint_ignores(project: Path) -> None:
    lines = (project / ".dvcignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [".*.tmp", "__pycache__/"]


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_depends_on_the_user_interface(name: str, project: Path) -> None:
    for dep in stage(project, name)["deps"]:
        assert not dep.startswith(("ssmlab/cli", "ssmlab/tui"))


@pytest.mark.parametrize("name", STAGES)
def test_outputs_persist(name: str, project: Path) -> None:
    """DVC deletes other outputs before a stage runs, and an interrupted stage would lose the earlier results."""
    described = stage(project, name)
    for out in [*described["outs"], *described.get("metrics", [])]:
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
        record("probe", probe, run, paths)
    record("analyze", analyze, paths)
    record("report", report, paths)
    for name, seen in read.items():
        listed = set(stage(project, name)["params"])
        if "run" in seen:  # a run is its own changes laid over the sections that all runs share
            seen = seen - {"run"} | {"model", "train", "runs.${key}"}
        assert seen <= listed, f"dvc.yaml, stage {name}: params must list {sorted(seen)}"
        assert listed - seen <= {"study"}, f"dvc.yaml, stage {name}: {sorted(listed - seen)} is never read"


def test_params_yaml_is_the_default_study(project: Path) -> None:
    assert (project / "params.yaml").read_bytes() == expanded_params_yaml(project / "studies" / "mnist5k.yaml")
