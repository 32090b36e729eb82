"""Numbers and names of many runs as one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from ssmlab.report.by_group import names_by_group, ranges_by_group


@dataclass
class Group:
    name: str
    runs: tuple[str, ...]


@dataclass
class Study:
    groups: tuple[Group, ...]


@pytest.fixture
def study() -> Any:
    return Study((Group("ssm", ("ssm-s0", "ssm-s1", "ssm-s2")), Group("ads", ("ads",))))


def test_a_group_is_a_range_and_a_single_run_a_number(study: Any) -> None:
    values = {"ssm-s1": 0.58, "ssm-s0": 0.21, "ssm-s2": 0.4, "ads": 0.6}
    assert ranges_by_group(study, values, "x{:.2f}") == "ssm x0.21 to x0.58 and ads x0.60"


def test_a_range_whose_ends_are_written_alike_is_one_number(study: Any) -> None:
    assert ranges_by_group(study, {"ssm-s0": 0.5811, "ssm-s2": 0.5814}, "x{:.2f}") == "ssm x0.58"


def test_a_group_is_named_once_only_if_all_its_runs_are_meant(study: Any) -> None:
    assert names_by_group(study, ["ssm-s2", "ssm-s0", "ads", "ssm-s1"]) == "ssm and ads"
    assert names_by_group(study, {"ssm-s2", "ssm-s0"}) == "ssm-s0 and ssm-s2"
    assert names_by_group(study, []) == ""
