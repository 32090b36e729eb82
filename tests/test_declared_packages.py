"""Every package that ssmlab imports is declared in pyproject.toml and pinned in requirements.lock.

The tests run in an environment made from the lock, which may hold a package that nothing declares. Users who install
ssmlab with pip would not get it.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

PROVIDERS = packages_distributions()
WITH_ANOTHER = {"pydantic_core": "pydantic"}  # pydantic pins the version of its core exactly


def normal(requirement: str) -> str:
    """The name in a requirement, as package indexes write it."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def imported_modules(package: Path) -> dict[str, Path]:
    """The top-level modules that a package imports, except itself and Python's own, each with one file that does."""
    found: dict[str, Path] = {}
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            found |= {name.partition(".")[0]: file for name in names}
    return {name: file for name, file in found.items() if name not in {*sys.stdlib_module_names, package.name}}


def test_every_imported_package_is_declared_and_locked(project: Path) -> None:
    settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {normal(each) for each in settings["dependencies"]}
    pins = (project / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {normal(pin) for pin in pins if pin and not pin.startswith("#")}
    modules = imported_modules(project / "ssmlab")
    assert {"torch", "textual", "yaml"} <= modules.keys()
    for module, file in modules.items():
        names = {normal(each) for each in PROVIDERS.get(module, [WITH_ANOTHER.get(module, module)])}
        names |= {WITH_ANOTHER[module]} if module in WITH_ANOTHER else set()
        assert names & declared, f"{file} imports {module} of {names}, which pyproject.toml does not declare"
        assert names & locked, f"{file} imports {module} of {names}, which requirements.lock does not pin"
