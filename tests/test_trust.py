"""docs/trust.md names tests: they exist."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def test_every_test_that_the_document_on_trust_names_exists() -> None:
    named = NAMED.findall((PROJECT / "docs" / "trust.md").read_text())
    assert len(named) > 50
    for file, test in named:
        source = (PROJECT / "tests" / file).read_text()
        assert re.search(rf"def {test}\(", source), f"{file}::{test}"
