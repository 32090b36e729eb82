from __future__ import annotations

import pytest

from ssmlab.analysis.claims import Judgement, judge, tally
from ssmlab.errors import UserError
from ssmlab.params import ClaimParams, Params
from tests.analysis.synthetic import results


def flags(right: int, n: int = 1000) -> str:
    return "1" * right + "0" * (n - right)


def verdict(params: Params, run: dict[str, str], than: dict[str, str], *measures: str) -> Judgement:
    claim = ClaimParams(says="A is higher", run="ads", than="ssm", measures=measures)
    found = {"ads": results(params, "ads", run, run), "ssm": results(params, "ssm", than, than)}
    return judge(claim, found, {}, 0.95)


def test_supported_needs_every_measure(tiny_params: Params) -> None:
    high, low = {"clean": flags(813), "pgd-2": flags(700)}, {"clean": flags(560), "pgd-2": flags(500)}
    found = verdict(tiny_params, high, low, "clean", "pgd-2")
    assert found.verdict == "supported"
    assert found.sentence.startswith("Supported: clean 81.3% against 56.0%, +25.3 points (95% interval +")
    assert found.sentence.count("n = 1000") == 2
    half = verdict(tiny_params, high, low | {"pgd-2": flags(700)}, "clean", "pgd-2")
    assert half.verdict == "not settled"


def test_contradicted_by_one_measure_below_zero(tiny_params: Params) -> None:
    found = verdict(
        tiny_params,
        {"clean": flags(900), "pgd-2": flags(300)},
        {"clean": flags(500), "pgd-2": flags(500)},
        "clean",
        "pgd-2",
    )
    assert found.verdict == "contradicted"
    assert found.sentence.startswith("Contradicted: ")
    assert "-20.0 points" in found.sentence


def test_a_small_difference_is_not_settled(tiny_params: Params) -> None:
    found = verdict(tiny_params, {"clean": flags(56, 100)}, {"clean": flags(54, 100)}, "clean")
    assert found.verdict == "not settled"


def test_ro_gaps_are_compared_image_by_image(tiny_params: Params) -> None:
    claim = ClaimParams(says="falls more", run="ads", than="ssm", measures=("ro_gap:pgd-2",))
    falls = results(
        tiny_params, "ads", {"clean": flags(900), "pgd-2": flags(700)}, {"clean": flags(900), "pgd-2": flags(600)}
    )
    holds = results(
        tiny_params, "ssm", {"clean": flags(900), "pgd-2": flags(500)}, {"clean": flags(900), "pgd-2": flags(495)}
    )
    found = judge(claim, {"ads": falls, "ssm": holds}, {}, 0.95)
    assert found.verdict == "supported"
    assert "RO gap under pgd-2 +10.0 against +0.5 points, +9.5 points" in found.sentence
    assert found.evidence[0].difference.value == pytest.approx(0.095)


@pytest.mark.parametrize(("parameters", "times"), [(1000, None), (1099, None), (1900, "1.9")])
def test_sizes_that_differ_stand_beside_the_claim(tiny_params: Params, parameters: int, times: str | None) -> None:
    claim = ClaimParams(says="A", run="ads", than="ssm", measures=("clean",))
    measures = {"clean": flags(500)}
    found = judge(
        claim,
        {
            "ads": results(tiny_params, "ads", measures, parameters=parameters),
            "ssm": results(tiny_params, "ssm", measures, parameters=1000),
        },
        {},
        0.95,
    )
    expected = () if times is None else (f"ads has {times} times the parameters of ssm ({parameters:,} against 1,000)",)
    assert found.confounds == expected


def test_missing_runs_and_measures_are_named(tiny_params: Params) -> None:
    claim = ClaimParams(says="A", run="ads", than="ssm", measures=("autoattack",))
    with pytest.raises(UserError, match=r"run ads, .*`ssmlab attack ads`"):
        judge(claim, {}, {}, 0.95)
    both = {run: results(tiny_params, run, {"clean": flags(5)}) for run in ("ads", "ssm")}
    with pytest.raises(UserError, match="autoattack on the best checkpoint of run ads"):
        judge(claim, both, {}, 0.95)
    gap = ClaimParams(says="A", run="ads", than="ssm", measures=("ro_gap:clean",))
    with pytest.raises(UserError, match="clean on the last checkpoint of run ads"):
        judge(gap, both, {}, 0.95)


def test_the_tally_counts_verdicts(tiny_params: Params) -> None:
    high, low = {"clean": flags(800)}, {"clean": flags(500)}
    judged = (verdict(tiny_params, high, low, "clean"), verdict(tiny_params, low, high, "clean"))
    assert tally(judged) == "1 supported and 1 contradicted"
