"""The table of planted models in docs/evaluation.md: its rows are the models of the tests, with their numbers."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

from ssmlab.evaluation.evaluate import evaluate
from tests.evaluation.checks.models import EPS, HONEST, PLANTED, digits

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "evaluation.md"
CLOSE = 1.25  # times its threshold: so close to it, the check may have another result on another processor
BY_CHANCE = 10  # images: over eight seeds, a model of random outputs moves by 6; another processor is like a seed


class TableRow(NamedTuple):
    """One row, as text."""

    model: str
    clean: str
    pgd: str
    found: str
    checks: frozenset[str]
    test: str


def table_rows() -> dict[str, TableRow]:
    """The rows of the table by model."""
    lines = PAGE.read_text().partition("### Planted models")[2].partition("\n### ")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    rows = [TableRow(*row[:4], frozenset(row[4].split(", ")) - {"none"}, row[5].strip("`")) for row in cells[1:]]
    return {row.model: row for row in rows}


def test_every_planted_and_every_honest_model_has_a_row_and_no_row_lacks_its_model() -> None:
    assert list(table_rows()) == [*HONEST, *PLANTED]


@pytest.mark.parametrize("name", [*HONEST, *PLANTED])
def test_a_row_names_an_existing_test_and_the_check_in_that_test(name: str) -> None:
    row, tests = table_rows()[name], ast.parse((HERE / "test_checks.py").read_text()).body
    assert row.test in {node.name for node in tests if isinstance(node, ast.FunctionDef)}
    if name in PLANTED:
        assert PLANTED[name][1] in row.checks
    else:
        assert not row.checks


@pytest.mark.slow
@pytest.mark.parametrize("name", [*HONEST, *PLANTED])
def test_a_row_has_the_numbers_and_the_checks_that_the_model_gives(name: str) -> None:
    row, (x, y) = table_rows()[name], digits()
    model = HONEST[name]() if name in HONEST else PLANTED[name][0]()
    found = evaluate(model, x[:100], y[:100], ["pgd-10"], EPS, binarisation=64)
    checks = {check.name: check for check in found.checks}
    random = "random" in row.checks
    assert abs(found.measures["clean"].correct - int(row.clean)) <= (BY_CHANCE if random else 2)
    assert abs(found.measures["pgd-10"].correct - int(row.pgd)) <= (BY_CHANCE if random else 2)
    assert abs(100 * (1 - checks["binarisation"].value) - int(row.found.rstrip("%"))) <= 5
    if random:  # one of its other checks has its threshold in the middle of what chance gives
        assert row.checks <= {check.name for check in checks.values() if check.raised}
        return
    for check in checks.values():
        if not check.threshold / CLOSE <= check.value <= check.threshold * CLOSE or check.threshold == 0:
            assert check.raised == (check.name in row.checks), check
