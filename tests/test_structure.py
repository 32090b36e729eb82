"""The shape of the code that a reader can rely on: functions fit a screen. import-linter holds the order of imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

LONGEST = 40  # lines of code of a function, without its docstring


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every function of a module, with its lines of code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            docstring = (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring


def test_no_function_is_longer_than_a_screen(project: Path) -> None:
    long = {
        f"{path.relative_to(project)}: {name}": lines
        for path in sorted((project / "ssmlab").rglob("*.py"))
        for name, lines in functions(ast.parse(path.read_text(encoding="utf-8")))
        if lines > LONGEST
    }
    assert long == {}


def test_a_docstring_does_not_count_as_lines_of_a_function() -> None:
    body = "\n".join(f"    x{number} = {number}" for number in range(3))
    source = f'def documented():\n    """One.\n\n    Two.\n    """\n{body}\n\nasync def bare():\n{body}\n'
    assert dict(functions(ast.parse(source))) == {"documented": 4, "bare": 4}
