"""Provenance: the params, code, inputs, versions and device of a stage, recorded in its output.

Two equal runs of a stage on one machine and checkout have equal provenance: it contains no time, host or process
number. Checkpoints do not contain it, so equal weights are equal bytes; manifest.json in their folder does.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ssmlab.core.files import sha256_file, sha256_text
from ssmlab.core.json_text import canonical_json
from ssmlab.core.stage_code import CommandName, StageName, code_fingerprint
from ssmlab.core.version import __version__
from ssmlab.params import Strict

PACKAGES = ("torch", "numpy", "safetensors", "torchattacks")  # numbers depend on their versions
CODE = ("ssmlab", "dvc.yaml")  # git is asked for changes in these; params are recorded completely
GIT_SECONDS = 10.0


class Provenance(Strict):
    """Where an output comes from.

    Attributes:
        stage: name of the stage.
        command: the command line of ssmlab; None if a program called it as a library.
        params, params_sha256: all params that the stage reads, and the hash of their canonical JSON.
        code_sha256: hash of the files that the stage depends on (`ssmlab.core.stage_code`).
        inputs: fingerprints of the files that the stage read, by path in the project.
        git_commit: the commit of the checkout; None outside git.
        git_changes: SHA-256 of the uncommitted changes in the code; None if there are none.
        versions: versions of ssmlab, Python and the packages that numbers depend on.
        device, threads: "cpu" or "cuda", and number of torch threads, which change the last bits of numbers.
    """

    stage: StageName | CommandName
    command: str | None = None
    params: dict[str, Any]
    params_sha256: str
    code_sha256: str
    inputs: dict[str, str]
    git_commit: str | None = None
    git_changes: str | None = None
    versions: dict[str, str]
    device: str | None = None
    threads: int | None = None


def provenance_of(
    stage: StageName | CommandName,
    params: Mapping[str, Any],
    inputs: Mapping[str, str],
    *,
    root: Path,
    device: str | None = None,
    threads: int | None = None,
) -> Provenance:
    """The provenance of an output that `stage` writes now, in the project at `root`; arguments as in `Provenance`."""
    commit, changes = git_state(root)
    return Provenance(
        stage=stage,
        command=own_command(),
        params=dict(params),
        params_sha256=params_fingerprint(params),
        code_sha256=code_fingerprint(stage),
        inputs=dict(inputs),
        git_commit=commit,
        git_changes=changes,
        versions=versions(),
        device=device,
        threads=threads,
    )


def params_fingerprint(params: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a stage's params."""
    return sha256_text(canonical_json(params))


def own_command() -> str | None:
    """The command line of this process, the same for `ssmlab` and `python -m ssmlab`; None for another program."""
    program = Path(sys.argv[0])
    if program.name == "ssmlab" or (program.name == "__main__.py" and program.parent.name == "ssmlab"):
        return shlex.join(["ssmlab", *sys.argv[1:]])
    return None


def versions() -> dict[str, str]:
    """The versions of ssmlab, Python and those of `PACKAGES` that are installed."""
    found = {"ssmlab": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> tuple[str | None, str | None]:
    """The commit of the checkout at `folder`, and a hash of uncommitted changes in its code; None if there is none."""
    found = ask_git(folder, "rev-parse", "HEAD", "--show-toplevel")
    if found is None:
        return None, None
    commit, top = os.fsdecode(found).removesuffix("\n").split("\n", 1)  # a folder may have any other line end
    # not `git diff`, which locks and writes the index also without optional locks
    status = ask_git(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *CODE) or b""
    digest = hashlib.sha256()
    for entry in filter(None, status.split(b"\0")):  # two letters, a space, and the path below `top`
        file = Path(top, os.fsdecode(entry[3:]))
        digest.update(entry[3:] + b"\0" + (sha256_file(file).encode() if file.is_file() else b""))
    return commit, digest.hexdigest() if status else None


def ask_git(folder: Path, *arguments: str) -> bytes | None:
    """The output of git; None if there is no git or no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},  # reading must not lock the user's repository
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
