"""What the documents name exists: files, tests, commands and links."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer.main

from ssmlab.cli.app import app

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path for path in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("benchmarks/*.md")]
)
FOLDERS = ("ssmlab", "tests", "benchmarks", "docs", "studies")


def named(document: Path) -> str:
    return document.relative_to(PROJECT).as_posix()


def without_history(document: Path) -> str:
    """The text; a changelog speaks of what used to be, so only its newest section counts."""
    text = document.read_text(encoding="utf-8")
    return re.split(r"^## \[\d", text, maxsplit=1, flags=re.M)[0] if document.name == "CHANGELOG.md" else text


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    pattern = rf"(?<![\w./<-])(?:{'|'.join(FOLDERS)})/[\w./-]*+(?![<*{{])"
    paths = {path.rstrip(".-") for path in re.findall(pattern, without_history(document))}
    missing = {path for path in paths if not (PROJECT / path).exists() and "results/" not in path}
    made = set(re.findall(r'(?:title="|> )([\w./-]+)', document.read_text(encoding="utf-8")))  # by a tutorial's blocks
    assert missing - made == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_of_a_document_leads_to_a_file(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
    local = {target for target in targets if not re.match(r"[a-z]+:", target)}
    assert {target for target in local if not (document.parent / target).exists()} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    files = [*PROJECT.glob("tests/**/*.py"), document]  # a tutorial has tests of its own
    tests = "\n".join(path.read_text(encoding="utf-8") for path in files)
    known = set(re.findall(r"def (test_\w+)", tests)) | {path.stem for path in PROJECT.glob("tests/**/test_*.py")}
    found = set(re.findall(r"\b(test_\w+)", without_history(document)))
    assert {name for name in found if not any(each.startswith(name) for each in known)} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    group = typer.main.get_command(app)
    known = set(group.commands)  # type: ignore[attr-defined]
    text = without_history(document)
    found = set(re.findall(r"(?:^|`|-m )ssmlab ([a-z]+)", text, re.M))
    assert found - known == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_each_line_of_a_code_block_holds_one_command(document: Path) -> None:
    """A program that wraps text once joined the lines of a block."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("ssmlab ")]
    assert [line for line in commands if re.search(r"#.*\bssmlab [a-z]+ [-a-z]", line.replace("`", ""))] == []


def test_the_tree_in_architecture_has_every_folder_of_the_package_on_its_own_line() -> None:
    text = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"^```\nssmlab/\n(.*?)^```", text, re.M | re.S)
    shown, path = [], ["ssmlab"]
    for indent, folder in re.findall(r"^( +)(\w+)/ +\S", tree, re.M):
        path = [*path[: len(indent) // 2], folder]
        shown.append("/".join(path))
    package = [each.parent.relative_to(PROJECT).as_posix() for each in PROJECT.glob("ssmlab/**/__init__.py")]
    assert sorted(shown) == sorted(set(package) - {"ssmlab"})


def test_the_tree_in_architecture_has_the_order_of_the_layers() -> None:
    text = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    rooms = [room.removeprefix("ssmlab.") for layer in layers for room in layer.split(" | ")]
    assert re.findall(r"^  (\w+)/ ", text, re.M) == rooms
