"""Fixtures that several test files share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from ssmlab.params import Params
from ssmlab.project.params_file import load_params
from ssmlab.system.waiting import wait_passively

wait_passively()  # before any test imports torch

# In tests every call of these modules is checked against its annotated shapes and types (ssmlab/nets/shapes.py).
# The hook sees only what is imported after it; the imports above load neither.
install_import_hook(["ssmlab.nets", "ssmlab.training.adversary"], "beartype.beartype")


def pytest_configure() -> None:
    """The same signals and environment everywhere.

    Signals act as in a terminal, even if the tests are a background job, which ignores SIGINT from its start. No
    terminal size is inherited, because xdist gives COLUMNS=80 and LINES=24 to its workers. Commands keep their
    compiled files, as a user's do: to compile ssmlab again costs every start about half a second.
    """
    for name in ("COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def pytest_runtest_teardown() -> None:
    """Turn the garbage collector on again: a test that calls `ssmlab tui` in this process turns it off."""
    gc.enable()


PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def project() -> Path:
    """The project's own folder: dvc.yaml, params.yaml, studies/."""
    return PROJECT


@pytest.fixture(scope="session")
def copy_project() -> Callable[[Path], None]:
    """Fills an empty folder with what DVC needs of the project: pipeline, studies, sources; no git, no params.yaml."""

    def copy(folder: Path) -> None:
        for name in ("dvc.yaml", ".dvcignore"):
            shutil.copy(PROJECT / name, folder / name)
        for name in ("studies", "ssmlab"):
            shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / ".dvc").mkdir()
        shutil.copy(PROJECT / ".dvc" / "config", folder / ".dvc" / "config")

    return copy


@pytest.fixture
def shared() -> Path:
    """The folder of development data beside the checkout; tests that need it skip where it does not exist."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the development data in ../shared, which is not here")
    return folder


@pytest.fixture
def tiny_params() -> Params:
    """The smoke study: a few seconds for every stage."""
    return load_params(PROJECT / "studies" / "smoke.yaml")
