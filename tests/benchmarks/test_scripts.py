"""Scripts that no other test runs still import what they name, and explain themselves."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((PROJECT / "benchmarks").glob("*.py"))


def test_every_script_finds_the_names_that_it_imports() -> None:
    modules = [script.stem for script in SCRIPTS]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(PROJECT), str(PROJECT / "benchmarks")))}
    command = [sys.executable, "-c", f"import {', '.join(modules)}"]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_says_what_it_is_for(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    documented = ast.get_docstring(ast.parse(text)) or ""
    assert documented
    if 'if __name__ == "__main__"' in text:
        commands = f"python benchmarks/{script.name}", f"python -m benchmarks.{script.stem}"
        assert any(command in documented for command in commands)
