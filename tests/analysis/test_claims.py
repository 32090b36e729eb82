from __future__ import annotations

import pytest

from ssmlab.analysis.claims import Judgement, judge, tally
from ssmlab.core.errors import UserError
from ssmlab.evaluation.results import AttackResults
from ssmlab.params import ClaimParams, Params
from tests.analysis.synthetic import results, seeded_params


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


def by_seed(params: Params, group: str, right: dict[int, int], last: int = 0) -> dict[str, AttackResults]:
    """Results of runs of `group` by name: how many of 1000 images each seed gets right, `last` fewer at last."""
    found = {}
    for seed, correct in right.items():
        run = f"{group}-s{seed}"
        best, after = {"clean": flags(correct), "pgd-2": flags(correct)}, {"pgd-2": flags(correct - last * (seed + 1))}
        found[run] = results(params, run, best, after | {"clean": flags(correct)})
    return found


def judged(params: Params, measure: str, ads: dict[int, int], ssm: dict[int, int], **names: str) -> Judgement:
    """A claim that AdS is higher, on groups of seeds."""
    seeded = seeded_params(params, seeds=range(5))
    claim = ClaimParams(says="A", measures=(measure,), **({"run": "ads-pgd", "than": "ssm-pgd"} | names))
    found = by_seed(seeded, "ads-pgd", ads, last=20) | by_seed(seeded, "ssm-pgd", ssm)
    groups = {name: [run for run in found if run.startswith(name)] for name in ("ads-pgd", "ssm-pgd")}
    return judge(claim, found, groups, 0.95)


def test_groups_are_judged_over_their_common_seeds(tiny_params: Params) -> None:
    found = judged(tiny_params, "clean", {0: 800, 1: 810, 2: 806, 3: 10}, {0: 600, 1: 612, 2: 600, 4: 999})
    (item,) = found.evidence
    assert found.verdict == "supported"
    assert (item.run, item.than) == pytest.approx(((0.8 + 0.81 + 0.806) / 3, (0.6 + 0.612 + 0.6) / 3))
    assert item.difference is not None
    assert item.difference.value == pytest.approx(item.run - item.than)
    assert (item.difference.seeds, item.difference.n) == (3, 1000)
    assert found.sentence.startswith("Supported, over the seeds 0, 1 and 2: clean 80.5% against 60.4%, +20.1 points")
    assert "n = 3 seeds x 1000 images" in found.sentence
    back = judged(tiny_params, "clean", {0: 600, 1: 612, 2: 600}, {0: 800, 1: 810, 2: 806})
    assert back.verdict == "contradicted"


def test_seeds_that_disagree_settle_nothing_though_each_alone_would(tiny_params: Params) -> None:
    ads, ssm = {0: 700, 1: 420, 2: 690}, {0: 500, 1: 500, 2: 500}
    assert judged(tiny_params, "clean", ads, ssm).verdict == "not settled"
    alone = judged(tiny_params, "clean", ads, ssm, run="ads-pgd-s0", than="ssm-pgd-s0")
    assert alone.verdict == "supported"
    assert "seeds" not in alone.sentence


def test_gaps_of_groups_are_judged_seed_by_seed(tiny_params: Params) -> None:
    found = judged(tiny_params, "ro_gap:pgd-2", {0: 700, 1: 700, 2: 700}, {0: 500, 1: 500, 2: 500})
    (item,) = found.evidence
    assert item.run == pytest.approx(0.04)  # 20, 40 and 60 of 1000
    assert item.difference is not None
    assert item.difference.value == pytest.approx(0.04)
    assert item.difference.low < 0 < item.difference.high  # three seeds between 0.02 and 0.06: t is 4.3
    assert "RO gap under pgd-2 +4.0 against 0.0 points, +4.0 points" in found.sentence


@pytest.mark.parametrize(
    ("ads", "ssm", "names"),
    [
        ({0: 900, 1: 900}, {1: 500, 2: 500}, {}),
        ({0: 900, 1: 900}, {2: 500, 3: 500}, {}),
        ({0: 900, 1: 900}, {0: 500, 1: 500}, {"than": "ssm-pgd-s1"}),
    ],
)
def test_fewer_than_two_common_seeds_settle_nothing(
    tiny_params: Params, ads: dict[int, int], ssm: dict[int, int], names: dict[str, str]
) -> None:
    found = judged(tiny_params, "clean", ads, ssm, **names)
    assert found.verdict == "not settled"
    assert found.evidence[0].difference is None
    assert "+40.0 points (no interval: fewer than two seeds in common)" in found.sentence


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
