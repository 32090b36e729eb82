"""DVC's own commands, started with the Python that is running."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file, write_atomic


def in_git_checkout(root: Path) -> bool:
    """Whether the folder is a git checkout or lies in one."""
    here = root.resolve()
    return any((folder / ".git").exists() for folder in (here, *here.parents))


def allow_no_git(root: Path) -> None:
    """Let DVC run without git if `root` is not in a git checkout (a downloaded archive); otherwise DVC refuses to run.

    The setting goes to .dvc/config.local, which git ignores, so that a checkout keeps DVC's git features.
    """
    if in_git_checkout(root):
        return
    local = root / ".dvc" / "config.local"
    if not local.is_file() or b"no_scm" not in read_file(local):
        command = [sys.executable, "-m", "dvc", "config", "--local", "core.no_scm", "true"]
        subprocess.run(
            command, cwd=root, check=False, capture_output=True
        )  # if this fails, the next DVC command says why


def repro_command(names: Sequence[str], force: bool) -> list[str]:
    """The command line of a `dvc repro`, with the DVC of the Python that is running."""
    return [sys.executable, "-m", "dvc", "repro", *(["--force"] if force else []), *names]


def environment(root: Path) -> dict[str, str]:
    """This process's environment, in which `python` is the Python that is running, with unbuffered output."""
    search = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": python_folder(root) + os.pathsep + search, "PYTHONUNBUFFERED": "1"}


def python_folder(root: Path) -> str:
    """A folder whose `python` starts the Python that is running; if there is none, it is made in the project.

    Debian's /usr/bin has `python3` but no `python`. A symbolic link would not work, because Python finds its virtual
    environment by the path that it was started with.
    """
    here = Path(sys.executable).parent
    found = shutil.which("python", path=str(here))
    if found and Path(found).resolve() == Path(sys.executable).resolve():
        return str(here)
    script = root.resolve() / ".dvc" / "tmp" / "ssmlab-python" / "python"
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(script, f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    with suppress(PermissionError):  # a drive that does not store modes
        script.chmod(0o755)
    return str(script.parent)


def dvc_status(root: Path) -> set[str]:
    """The stages that are out of date, according to DVC."""
    done = dvc(root, "status", "--json")
    try:
        return set(json.loads(done))
    except ValueError:
        raise UserError(f"dvc status gave no list of stages: {' '.join(done.split())[:200]}") from None


def dvc(root: Path, *arguments: str) -> str:
    """The output of a DVC command; raises UserError with DVC's own reason if it fails."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(root), text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise UserError(f"dvc {arguments[0]}: {reason_in(done.stderr) or done.returncode}")
    return done.stdout


def reason_in(stderr: str) -> str:
    """DVC's own reason in what it printed: its last line that begins with ERROR, or else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or [""])[-1]
