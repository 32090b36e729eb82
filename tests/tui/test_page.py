"""docs/tui.md names a test for every feature: they exist."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.test_trust import NAMED, PROJECT

PAGE = (PROJECT / "docs" / "tui.md").read_text()
ROWS = [line for line in PAGE.partition("## What is tested")[2].splitlines() if line.startswith("| ")][1:]
FEATURES = {"runs", "correct states", "curves", "pipeline", "compare"} | {
    "samples",
    "report",
    "system",
    "alerts",
    "settings",
}


def test_every_feature_has_a_row() -> None:
    assert {re.split(r"[:,|]", row.removeprefix("| "))[0].strip() for row in ROWS} >= FEATURES


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_tests_that_exist(row: str) -> None:
    named = NAMED.findall(row)
    assert named and len(named) == row.count("::")
    for file, test in named:
        assert re.search(rf"def {test}\(", (PROJECT / "tests" / file).read_text()), f"{file}::{test}"


def test_the_recorded_session_is_small_whole_and_linked() -> None:
    file = PROJECT / "docs" / "images" / "tui-session.svg"
    assert file.stat().st_size < 400_000
    frames = [each for each in ElementTree.parse(file).getroot() if each.get("id", "").startswith("f")]
    assert len(frames) > 20
    assert all("tui-session.svg" in (PROJECT / page).read_text() for page in ("README.md", "docs/tui.md"))
