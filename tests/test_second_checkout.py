"""The code in the folder is the code that runs, also where another copy of ssmlab is the installed one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open

PROJECT = Path(__file__).resolve().parents[1]
VERSION = "9.9.9"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, copy_project: Callable[[Path], None]) -> Path:
    """A second copy of the project, with another version of the code, a prepared tiny study and one run."""
    folder = tmp_path_factory.mktemp("second checkout")
    copy_project(folder)
    version = folder / "ssmlab" / "core" / "version.py"
    lines = version.read_text().splitlines()
    lines[-1] = f'__version__ = "{VERSION}"'
    version.write_text("\n".join(lines) + "\n")
    text = (folder / "studies" / "smoke.yaml").read_text().replace("epochs: 2", "epochs: 1")
    (folder / "params.yaml").write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)  # a plain `dvc repro` asks for a repository
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command in `folder`, with the installed package first on the path of scripts, as for most users."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)


def recorded_version(checkpoint: Path) -> str:
    with safe_open(checkpoint, framework="np") as file:
        return str(json.loads(file.metadata()["ssmlab"])["code_version"])


@pytest.mark.parametrize("launcher", [("dvc", "repro"), ("ssmlab", "repro")])
def test_a_pipeline_in_a_second_checkout_trains_with_the_code_of_that_checkout(
    checkout: Path, launcher: tuple[str, ...]
) -> None:
    shutil.rmtree(checkout / "models" / "smoke", ignore_errors=True)
    done = run(checkout, *launcher, "train@ssm")
    assert done.returncode == 0, done.stdout + done.stderr
    assert recorded_version(checkout / "models" / "smoke" / "ssm" / "best.safetensors") == VERSION


@pytest.mark.parametrize(
    "command", [("prepare",), ("train", "ssm"), ("attack", "ssm"), ("probe", "ssm"), ("analyze",), ("report",)]
)
def test_a_stage_of_the_installed_copy_stops_with_one_line_in_a_folder_with_its_own_code(
    checkout: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = run(checkout, str(console_script(tmp_path)), *command)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "python -m ssmlab" in done.stderr
    assert "--allow-installed" in done.stderr


def test_an_installed_copy_runs_where_it_is_allowed_to(checkout: Path, tmp_path: Path) -> None:
    done = run(checkout, str(console_script(tmp_path)), "prepare", "--allow-installed")
    assert done.returncode == 0, done.stderr


def console_script(folder: Path) -> Path:
    """What `pip install` makes of the entry point: it imports the installed package, not that of the folder."""
    script = folder / "ssmlab-installed"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(PROJECT)!r})\n"
        "from ssmlab.cli.app import main\nmain()\n"
    )
    script.chmod(0o755)
    return script
