"""One public name means one thing: no function or class of the package shares its name with one of another module."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

# A command of cli/ is a thin wrapper around a function of a room below it; `ssmlab VERB` and that function say the
# same thing, so they share the verb. Two commands share theirs where one is in the group `ssmlab data`.
COMMANDS = {
    "analyze",
    "attack",
    "compare",
    "fetch",
    "parity",
    "prepare",
    "probe",
    "report",
    "train",
    "transfer",
    "use",
    "verify",
}

ALLOWED = {
    "main": "the entry point of a program: of ssmlab, and of the child process that reads untrusted pickles",
    "class_names": "the interface of a module of ingest/formats",
    "detect": "the interface of a module of ingest/formats",
    "make_part": "the interface of a module of ingest/formats",
    "read_header": "the interface of a module of ingest/formats",
    "read_part": "the interface of a module of ingest/formats",
}


def public_names(package: Path) -> dict[str, list[str]]:
    """Where each public function, class and type alias at the top of a module is defined, by its name."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        for name in dict.fromkeys(names_of(ast.parse(path.read_text()))):
            places[name].append(path.relative_to(package).as_posix())
    return places


def names_of(module: ast.Module) -> list[str]:
    """The names that a module defines at its top; of its assignments the type aliases, which are in CamelCase."""
    found = []
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign):
            targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
            found += [name for name in targets if not name.isupper() and name[:1].isupper()]
    return [name for name in found if not name.startswith("_")]


def shared(places: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The names with several meanings that no reason allows."""
    return {
        name: modules
        for name, modules in places.items()
        if len(modules) > 1
        and name not in ALLOWED
        and not (name in COMMANDS and any(module.startswith("cli/") for module in modules))
    }


def test_a_public_name_is_defined_in_one_module(project: Path) -> None:
    assert shared(public_names(project / "ssmlab")) == {}


def test_an_allowed_name_is_still_shared(project: Path) -> None:
    places = public_names(project / "ssmlab")
    assert {name for name in {*COMMANDS, *ALLOWED} if len(places.get(name, [])) < 2} == set()


@pytest.mark.parametrize(
    "kind", ["def {}():\n    pass", "async def {}():\n    pass", "class {}:\n    pass", "{} = int"]
)
def test_a_name_in_two_modules_is_found(tmp_path: Path, kind: str) -> None:
    for module in ("a/one.py", "b/two.py"):
        path = tmp_path / module
        path.parent.mkdir()
        path.write_text(kind.format("Canvas") + "\n" + kind.format("_Private") + "\n")
    assert shared(public_names(tmp_path)) == {"Canvas": ["a/one.py", "b/two.py"]}
