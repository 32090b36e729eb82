"""The report's sentence and table on the checks: which of them raised a flag, on which runs, and with what value."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import Summary
from ssmlab.evaluation.results import Check
from ssmlab.params import Params
from ssmlab.project.params_file import load_params
from ssmlab.report.checks import flags_sentence, raised_table
from tests.analysis.synthetic import data_summary, default_study


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(Path(__file__).resolve().parents[2] / "studies" / "mnist5k-published.yaml")


def summary_of(params: Params, values: dict[str, tuple[float, float]]) -> Summary:
    """Every best checkpoint has the checks `random` and `saturated`; `values` holds those of some runs."""
    found = []
    for result in default_study(params):
        checks = tuple(
            Check(name=name, value=value, threshold=0.1, raised=value > 0.1, sentence=f"{name}!" if value > 0.1 else "")
            for name, value in zip(("random", "saturated"), values.get(result.run, (0.0, 0.0)), strict=True)
        )
        best = result.checkpoints["best"].model_copy(update={"checks": checks})
        found.append(result.model_copy(update={"checkpoints": {**result.checkpoints, "best": best}}))
    return summarize(params.study, found, params.analyze, data_summary())


def test_a_study_without_a_flag_says_how_many_checks_it_passed(params: Params) -> None:
    sentence = flags_sentence(summary_of(params, {}))
    assert sentence == "Every model passed 2 checks for masked gradients and other faults."


def test_only_raised_checks_and_the_runs_that_they_were_raised_on_are_named(params: Params) -> None:
    summary = summary_of(params, {"ssm": (0.05, 0.5), "ads": (0.0, 0.125)})
    assert flags_sentence(summary) == (
        "Every model went through 2 checks for masked gradients and other faults. 1 raised a flag (saturated) on "
        "2 runs: ssm, ads."
    )
    assert sorted(raised_table(summary).rows) == [
        ("ads", "best", "saturated", "0.125", "0.1", "saturated!"),
        ("ssm", "best", "saturated", "0.5", "0.1", "saturated!"),
    ]
