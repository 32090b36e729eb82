"""DVC's own commands, run by the Python that runs now."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic


def in_git_checkout(root: Path) -> bool:
    """Whether the folder is a git checkout or lies in one."""
    here = root.resolve()
    return any((folder / ".git").exists() for folder in (here, *here.parents))


def allow_no_git(root: Path) -> None:
    """Tell DVC, once, if there is no git checkout around `root`, as in a downloaded archive: it refuses to run there.

    The setting goes to .dvc/config.local, which git ignores, so that a checkout keeps DVC's git features.
    """
    if in_git_checkout(root):
        return
    local = root / ".dvc" / "config.local"
    if not local.is_file() or "no_scm" not in local.read_text(encoding="utf-8"):
        command = [sys.executable, "-m", "dvc", "config", "--local", "core.no_scm", "true"]
        subprocess.run(command, cwd=root, check=False, capture_output=True)  # DVC itself says what is wrong, if it is


def repro_command(names: Sequence[str], force: bool) -> list[str]:
    """The command line of a `dvc repro`, with the DVC of this very Python."""
    return [sys.executable, "-m", "dvc", "repro", *(["--force"] if force else []), *names]


def environment(root: Path) -> dict[str, str]:
    """This process's environment, in which `python` is the Python that runs now and writes unbuffered."""
    search = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": python_folder(root) + os.pathsep + search, "PYTHONUNBUFFERED": "1"}


def python_folder(root: Path) -> str:
    """A folder in which `python` starts the Python that runs now; made in the project where there is none.

    Debian's /usr/bin has `python3` and no `python`. A link would not do: a Python finds its virtual environment by the
    path that it was started with.
    """
    here = Path(sys.executable).parent
    found = shutil.which("python", path=str(here))
    if found and Path(found).resolve() == Path(sys.executable).resolve():
        return str(here)
    script = root.resolve() / ".dvc" / "tmp" / "ssmlab-python" / "python"
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(script, f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    script.chmod(0o755)
    return str(script.parent)


def dvc_status(root: Path) -> set[str]:
    """The stages that DVC calls out of date."""
    done = dvc(root, "status", "--json")
    try:
        return set(json.loads(done))
    except ValueError:
        raise UserError(f"dvc status gave no list of stages: {' '.join(done.split())[:200]}") from None


def dvc(root: Path, *arguments: str) -> str:
    """What a DVC command writes; raises UserError with DVC's own last line if it fails."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(root), text=True, capture_output=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise UserError(f"dvc {arguments[0]}: {lines[-1].removeprefix('ERROR: ') if lines else done.returncode}")
    return done.stdout
