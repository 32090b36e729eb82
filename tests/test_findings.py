"""The numbers of docs/findings.md are those of studies/results/."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[1]
FINDINGS = (PROJECT / "docs" / "findings.md").read_text(encoding="utf-8")
STUDIES = sorted(path.parent.name for path in PROJECT.glob("studies/results/*/results.json"))
CHECKPOINTS = ("best", "last")


def section_of(study: str) -> str:
    """The section that names the study's file."""
    (found,) = (text for text in re.split(r"^## ", FINDINGS, flags=re.M)[1:] if f"(`studies/{study}.yaml`)" in text)
    return found


def tables(section: str) -> list[list[list[str]]]:
    """The tables of a section as rows of cells: first the head, without the line below it."""
    blocks = re.findall(r"(?:^\|.*\n)+", section, flags=re.M)
    return [
        [
            [cell.strip() for cell in row.strip("|").split("|")]
            for row in block.splitlines()
            if not row.startswith("|--")
        ]
        for block in blocks
    ]


def measure_of(column: str) -> tuple[str, str]:
    """(attack, checkpoint) of the head of a column; the other words there describe the attack."""
    attack, *more = column.split(", ")
    return attack, next((each for each in more if each in CHECKPOINTS), "best")


def results(study: str) -> dict[str, list[dict[str, Any]]]:
    """What the study's results.json holds."""
    found: dict[str, list[dict[str, Any]]] = json.loads(
        (PROJECT / "studies" / "results" / study / "results.json").read_text(encoding="utf-8")
    )
    return found


def accuracies(study: str) -> dict[tuple[str, str, str], list[float]]:
    """The accuracies of all seeds, by (name of the model with its label, attack, checkpoint)."""
    rows = results(study)["accuracies"]
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        name = re.sub(r"-s\d+$", "", row["group"]) + (f", {row['label']}" if row["label"] else "")
        found.setdefault((name, row["attack"], row["checkpoint"]), []).append(row["accuracy"])
    return found


def written(values: list[float]) -> str:
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"


def row_of(claim: dict[str, Any]) -> list[str]:
    """The row of a claim in a table of verdicts."""
    p = claim["adjusted_p"]
    corrected = "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
    differences = [f"{value:+.1f} ({low:+.1f} to {high:+.1f})" for value, low, high in claim["differences"].values()]
    says = f"{claim['says']}, {claim['label']}" if claim["label"] else claim["says"]
    return [says, claim["verdict"], corrected, *differences]


def test_every_study_with_results_is_named_here() -> None:
    assert STUDIES
    assert [study for study in STUDIES if section_of(study).count("**Verdict.**") != 1] == []


@pytest.mark.parametrize("study", [study for study in STUDIES if study != "linear-small"])
def test_the_table_of_a_finding_is_that_of_its_results(study: str) -> None:
    found = accuracies(study)
    names = {name for name, _, _ in found}
    compared = set()
    for head, *rows in tables(section_of(study)):
        columns = {place: measure_of(cell) for place, cell in enumerate(head)}
        for row in rows:
            name = row[0].strip("`")
            for place, measure in columns.items():
                if (name, *measure) in found:
                    assert row[place] == written(found[name, *measure]), (name, measure)
                    compared.add(name)
    assert compared == names


@pytest.mark.parametrize("study", [study for study in STUDIES if "claims" in results(study)])
def test_the_verdicts_of_a_finding_are_those_that_analyze_gave(study: str) -> None:
    (shown,) = (rows for head, *rows in tables(section_of(study)) if head[0] == "claim")
    assert shown == [row_of(claim) for claim in results(study)["claims"]]


def test_every_accuracy_of_the_linear_models_stands_in_their_section() -> None:
    cells = {cell for rows in tables(section_of("linear-small")) for row in rows for cell in row}
    best = [written(values) for (_, _, which), values in accuracies("linear-small").items() if which == "best"]
    assert best and set(best) <= cells


def test_the_first_table_links_to_the_section_of_every_study_with_results() -> None:
    (first, *_) = tables(FINDINGS)
    linked = set(re.findall(r"\(#([\w-]+)\)", " ".join(cell for row in first for cell in row)))
    titles = [section_of(study).splitlines()[0] for study in STUDIES]
    assert linked == {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
