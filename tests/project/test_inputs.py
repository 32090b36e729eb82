"""The fingerprints of data and code with which results are compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ssmlab.core.stage_code import PACKAGE, code_fingerprint
from ssmlab.params.paths import Paths
from ssmlab.project.inputs import StudyInputs, package_of
from tests.analysis.synthetic import data_summary, write_data


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A project with a copy of the package."""
    shutil.copytree(PACKAGE, tmp_path / "ssmlab", ignore=shutil.ignore_patterns("__pycache__"))
    return Paths("smoke", tmp_path)


def test_a_folder_runs_its_own_copy_of_the_package_if_it_has_one(paths: Paths, tmp_path: Path) -> None:
    assert package_of(tmp_path) == (tmp_path / "ssmlab").resolve()
    assert package_of(tmp_path / "ssmlab") == PACKAGE


def test_editing_the_code_of_a_stage_changes_its_fingerprint_and_no_other(paths: Paths) -> None:
    seconds = [0.0]
    inputs = StudyInputs(paths, clock=lambda: seconds[0])
    before = {stage: inputs.code(stage) for stage in ("train", "attack")}
    assert before["train"] == code_fingerprint("train")
    for file, changed in (("tui/app.py", set()), ("training/loop.py", {"train"}), ("nets/s4.py", {"train", "attack"})):
        path = paths.root / "ssmlab" / file
        path.write_text(path.read_text() + "# edited\n")
        seconds[0] += 10
        now = {stage: inputs.code(stage) for stage in ("train", "attack")}
        assert {stage for stage in now if now[stage] != before[stage]} == changed
        before = now


def test_the_inputs_of_a_run_change_with_its_data(paths: Paths) -> None:
    inputs = StudyInputs(paths)
    assert inputs.data() is None
    seen = inputs.seen()
    write_data(paths.prepared, data_summary())
    assert inputs.data() == "ab" * 32 and inputs.data_name() == "mnist5k" and inputs.seen() != seen
