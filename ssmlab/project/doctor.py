"""Checks of the machine, the environment and the project's folder. Each finding says what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import InvalidRequirement, Requirement

from ssmlab.core.errors import UserError
from ssmlab.core.stage_code import PACKAGE
from ssmlab.core.text import listed
from ssmlab.core.version import __version__
from ssmlab.params.paths import Paths
from ssmlab.project.dvc_command import in_git_checkout
from ssmlab.project.dvc_files import (
    LEAST_ROOM,
    check_links,
    dvc_at_work,
    lock_owner,
    present_problem,
    read_lock,
    repair_dvc_files,
)
from ssmlab.project.launched import active, launch_text
from ssmlab.project.params_file import load_params
from ssmlab.project.switch import in_use
from ssmlab.system.cores import cpu_quota, processors

FindingKind = Literal["ok", "warning", "problem"]
COMFORTABLE_ROOM = 5_000_000_000  # bytes


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what it is ("disk").
        verdict: "problem" keeps something from working, "warning" may surprise.
        found: what was found, in one line.
        fix: what to do; empty if nothing has to be done.
    """

    name: str
    verdict: FindingKind
    found: str
    fix: str = ""


def examine(root: Path, repair: bool = False) -> list[Finding]:
    """Run all checks. With `repair`, DVC's damaged files are repaired first; nothing else is changed."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        python_and_packages,
        devices,
        threads,
        lambda: disk(root),
        lambda: study_in_use(root),
        lambda: version_control(root),
        lambda: dvc_state(root, repair),
    ]
    return [finding for check in checks for finding in check()]


def python_and_packages() -> Iterator[Finding]:
    """Python, ssmlab, and the packages that it requires."""
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Finding("ssmlab", "ok", f"{__version__} ({PACKAGE})")
    names = ("torch", "numpy", "safetensors", "torchattacks", "dvc", "textual")
    yield Finding("packages", "ok", ", ".join(f"{name} {installed(name) or 'missing'}" for name in names))
    wrong = list(unmet_requirements())
    if wrong:
        fix = "install what requirements.lock names: `make install`, or pip install -r requirements.lock"
        yield Finding("requirements", "problem", listed(wrong), fix)


def installed(name: str) -> str | None:
    """The version of an installed package, None if it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def unmet_requirements() -> Iterator[str]:
    """What ssmlab requires and this environment lacks, as `torch>=2.6 (2.5.1 is installed)`."""
    try:
        required = importlib.metadata.requires("ssmlab") or []
    except importlib.metadata.PackageNotFoundError:
        return  # it runs from a folder and is not installed
    for text in required:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name}{requirement.specifier} ({version or 'nothing'} is installed)"


def devices() -> Iterator[Finding]:
    """The processors and GPUs."""
    yield Finding("processors", "ok", f"{psutil.cpu_count()} ({platform.machine()}), {memory()} of memory")
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding("gpus", "ok", "none")
        return
    asked = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding("gpus", "warning", f"nvidia-smi does not answer ({error})", "check the NVIDIA driver")
        return
    cards = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or not cards:
        yield Finding("gpus", "warning", "nvidia-smi finds none", "check the NVIDIA driver and CUDA_VISIBLE_DEVICES")
    elif "+cpu" in (installed("torch") or ""):
        yield Finding("gpus", "warning", f"{listed(cards)}; this torch has no CUDA", "install a torch with CUDA")
    else:
        yield Finding("gpus", "ok", listed(cards))


def memory() -> str:
    """How much memory the machine has."""
    return f"{psutil.virtual_memory().total / 2**30:.0f} GiB"


def threads() -> Iterator[Finding]:
    """How many threads may run, and how many OMP_NUM_THREADS asks for."""
    allowed, quota = float(processors()), cpu_quota()
    usable = allowed if quota is None else min(allowed, quota)
    asked = os.environ.get("OMP_NUM_THREADS", "")
    text = f"{usable:g} cores for this process" + (f", OMP_NUM_THREADS={asked}" if asked else "")
    if asked.isdigit() and int(asked) > usable:
        yield Finding("threads", "warning", text, f"set OMP_NUM_THREADS to at most {max(1, int(usable))}")
    elif quota is not None and quota < allowed and not asked:
        fix = f"set OMP_NUM_THREADS={max(1, int(usable))}: torch counts {allowed:g} processors and is slowed down"
        yield Finding("threads", "warning", text, fix)
    else:
        yield Finding("threads", "ok", text)


def disk(root: Path) -> Iterator[Finding]:
    """The free space on the project's disk."""
    free = shutil.disk_usage(root).free
    text = f"{free / 1e9:.1f} GB free"
    if free < LEAST_ROOM:
        yield Finding("disk", "problem", text, "make room: DVC breaks its own files on a full disk")
    elif free < COMFORTABLE_ROOM:
        yield Finding("disk", "warning", text, "make room before a long study")
    else:
        yield Finding("disk", "ok", text)
    if not os.access(root, os.W_OK):
        yield Finding(
            "folder", "problem", f"{root.resolve()} cannot be written", "work in a copy, or change its permissions"
        )


def study_in_use(root: Path) -> Iterator[Finding]:
    """The study in use."""
    try:
        params = load_params(root / "params.yaml")
    except UserError as error:
        yield Finding("study", "problem", str(error), "fix params.yaml, or take a study with `ssmlab use`")
        return
    yield Finding("study", "ok", f"{params.study}, {len(params.runs)} runs")
    running = active(Paths(params.study, root))
    if running is not None:
        yield Finding("pipeline", "ok", f"{launch_text(running)} is running (process {running.pid})")


def version_control(root: Path) -> Iterator[Finding]:
    """Git and DVC around the project."""
    if shutil.which("git") is None:
        yield Finding("git", "warning", "git is not installed", "install it: results then record the commit")
    elif in_git_checkout(root):
        yield Finding("git", "ok", "a checkout")
    else:
        yield Finding("git", "ok", "no checkout; the first `ssmlab repro` sets DVC to work without git")
    if not (root / "dvc.yaml").is_file():
        fix = "change to a project's folder, or copy the file from a new one (`ssmlab new FOLDER`)"
        yield Finding("dvc", "problem", f"{root.resolve()} has no file dvc.yaml", fix)
        return
    if not any((folder / ".dvc").is_dir() for folder in (root.resolve(), *root.resolve().parents)):
        init = "`dvc init`" if (root / ".git").exists() else "`dvc init --no-scm`"
        yield Finding("dvc", "problem", f"{root.resolve()} has no folder .dvc", f"make it with {init}")
        return
    study = in_use(root / "params.yaml")
    try:
        if study is not None:
            check_links(root, study)
    except UserError as error:
        yield Finding("links", "problem", str(error))


def dvc_state(root: Path, repair: bool) -> Iterator[Finding]:
    """dvc.lock, the list of busy paths, and running DVC commands."""
    busy = dvc_at_work(root)
    if busy is not None:
        yield Finding("dvc", "ok", f"{busy} is running")
    study = in_use(root / "params.yaml") or ""
    try:
        if repair and busy is None:
            for done in repair_dvc_files(root, study):
                yield Finding("repaired", "ok", done)
        content = read_lock(root / "dvc.lock")
        problem = None if content is None else present_problem(content, root, study)
    except UserError as error:
        yield Finding("dvc.lock", "problem", str(error))
        return
    if content is None:
        yield Finding("dvc.lock", "ok", "none yet")
        return
    if problem is None:
        yield Finding("dvc.lock", "ok", f"complete, of study {lock_owner(content) or 'unknown'}")
    elif busy is not None:
        yield Finding("dvc.lock", "ok", "is being written")
    else:
        yield Finding("dvc.lock", "problem", f"damaged: {problem}", "`ssmlab doctor --fix` restores the last good copy")
