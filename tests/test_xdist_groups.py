"""pytest-xdist keeps tests that share a project or a port together; some versions of pytest undo that silently."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("held-together")
def test_the_group_of_a_test_reaches_the_scheduler(request: pytest.FixtureRequest) -> None:
    """The group travels as the end of the test's id: pytest 9.2 with pytest-xdist 3.8 loses it and mixes the groups."""
    grouping = getattr(request.config.option, "loadgroup", False)  # set in the workers alone
    assert request.node.nodeid.endswith("@held-together") == grouping
