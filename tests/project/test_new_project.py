"""`ssmlab new`: a project outside the repository, made by an installed wheel in an environment without the checkout."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ssmlab.core.errors import UserError
from ssmlab.params.paths import Paths
from ssmlab.project.new_project import new_project
from ssmlab.project.params_file import load_params, read_yaml
from ssmlab.project.pipeline import stages_of
from ssmlab.project.schema import SCHEMA_FILE, schema_text


def test_a_new_project_has_the_pipeline_without_code_and_every_study(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    new_project(folder, "smoke")
    params = load_params(folder / "params.yaml")
    assert params.study == "smoke" and "train@ads" in stages_of(params, folder)
    text = (folder / "dvc.yaml").read_text()
    assert "ssmlab/" not in text and "models/mnist5k" not in text
    shipped, made = (sorted(path.name for path in (root / "studies").glob("*.yaml")) for root in (project, folder))
    assert made == shipped
    for place in (folder, folder / "studies"):  # where the first line of every study leads an editor
        assert (place / SCHEMA_FILE).read_text(encoding="utf-8") == schema_text()
    ours, theirs = read_yaml(project / "dvc.yaml")["stages"], read_yaml(folder / "dvc.yaml")["stages"]
    assert ours.keys() == theirs.keys()
    for name, stage in ours.items():
        before, after = stage.get("do", stage), theirs[name].get("do", theirs[name])
        deps = [dep for dep in before.pop("deps") if not dep.startswith("ssmlab/")]
        assert after.pop("deps", []) == deps and after == before


def test_on_a_drive_without_links_the_schema_is_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    new_project(tmp_path / "mine", "smoke")
    for place in (tmp_path / "mine", tmp_path / "mine" / "studies"):
        assert (place / SCHEMA_FILE).read_text(encoding="utf-8") == schema_text()


def test_a_folder_with_files_and_an_unknown_study_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(UserError, match="not empty; name a new folder"):
        new_project(tmp_path / "mine", "smoke")
    with pytest.raises(UserError, match="did you mean 'smoke'"):
        new_project(tmp_path / "other", "smok")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_wheel_makes_a_project_in_which_the_smoke_study_runs(project: Path, tmp_path: Path) -> None:
    """The environment has the wheel and our dependencies, and neither the checkout nor an editable install."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def run(*command: str, folder: Path = tmp_path) -> str:
        done = subprocess.run(
            command, cwd=folder, env=environment, text=True, capture_output=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "wheels"), str(project))
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"))
    python = str(tmp_path / "venv" / "bin" / "python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = (tmp_path / "wheels").glob("ssmlab-*.whl")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel))
    assert Path(run(python, "-c", "import ssmlab; print(ssmlab.__file__)").strip()).is_relative_to(site)
    run(python, "-m", "ssmlab", "new", "mine", "--study", "smoke")
    mine = tmp_path / "mine"
    run(python, "-m", "ssmlab", "repro", folder=mine)
    assert Paths("smoke", mine).report_html.is_file()
    assert "none is damaged" in run(python, "-m", "ssmlab", "verify", folder=mine)
    assert "finished" in run(python, "-m", "ssmlab", "runs", folder=mine)
    run(python, "-m", "ssmlab", "use", "mnist5k", folder=mine)
