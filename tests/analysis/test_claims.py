from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.analysis.claims import Judgement, holm, judge_claims, p_text, tally
from ssmlab.analysis.sides import Study
from ssmlab.core.errors import UserError
from ssmlab.evaluation.results import AttackResults
from ssmlab.params import ClaimParams, Params
from tests.analysis.judging import flags, judge, record, verdict, with_own_checkpoint
from tests.analysis.synthetic import results, seeded_params


def test_a_claim_is_supported_only_if_every_measure_supports_it(tiny_params: Params) -> None:
    high, low = {"clean": flags(813), "pgd-2": flags(700)}, {"clean": flags(560), "pgd-2": flags(500)}
    found = verdict(tiny_params, high, low, "clean", "pgd-2")
    assert found.verdict == "supported"
    assert found.sentence.startswith(
        "Supported, for these two trainings only: clean 81.3% against 56.0%, +25.3 points (95% interval +"
    )
    assert found.sentence.count("n = 1000") == 2
    half = verdict(tiny_params, high, low | {"pgd-2": flags(700)}, "clean", "pgd-2")
    assert half.verdict == "not settled"


def test_one_measure_below_zero_contradicts_a_claim(tiny_params: Params) -> None:
    found = verdict(
        tiny_params,
        {"clean": flags(900), "pgd-2": flags(300)},
        {"clean": flags(500), "pgd-2": flags(500)},
        "clean",
        "pgd-2",
    )
    assert found.verdict == "contradicted"
    assert found.sentence.startswith("Contradicted, for these two trainings only: ")
    assert "-20.0 points" in found.sentence


def test_each_further_measure_makes_a_contradiction_harder(tiny_params: Params) -> None:
    low, high = {"clean": flags(470)}, {"clean": flags(500)}
    alone = verdict(tiny_params, low, high, "clean")
    equal = {"pgd-2": flags(300)}
    both = verdict(tiny_params, low | equal, high | equal, "clean", "pgd-2")
    assert alone.verdict == both.verdict == "contradicted"
    assert alone.p is not None and both.p == pytest.approx(2 * alone.p)


def test_a_small_difference_is_not_settled(tiny_params: Params) -> None:
    found = verdict(tiny_params, {"clean": flags(56, 100)}, {"clean": flags(54, 100)}, "clean")
    assert found.verdict == "not settled"


def test_a_claim_with_a_margin_is_supported_only_beyond_that_margin(tiny_params: Params) -> None:
    def by(points: float) -> Judgement:
        claim = ClaimParams(says="far above", run="ads", than="ssm", measures=("clean",), by=points)
        high, low = {"clean": flags(813)}, {"clean": flags(560)}
        return judge(claim, {"ads": results(tiny_params, "ads", high), "ssm": results(tiny_params, "ssm", low)}, {})

    assert [by(points).verdict for points in (10, 20, 25, 30)] == [
        "supported",
        "supported",
        "not settled",
        "contradicted",
    ]
    assert by(20).sentence.startswith(
        "Supported, for these two trainings only, with a margin of 20 points: clean 81.3%"
    )


def test_one_of_many_claims_needs_stronger_evidence_than_a_single_one(tiny_params: Params) -> None:
    # 40 images against 22: an exact p of 0.03, which is enough for one claim but not for one of three
    a, b = "1" * 500 + "1" * 40 + "0" * 22 + "0" * 438, "1" * 500 + "0" * 40 + "1" * 22 + "0" * 438
    found = {
        run: with_own_checkpoint(results(tiny_params, run, {"clean": each})) for run, each in (("ads", a), ("ssm", b))
    }
    claims = [ClaimParams(says=f"{i}", run="ads", than="ssm", measures=("clean",)) for i in range(3)]
    study = Study(found, {}, {}, 10, 0.95)
    (alone,), three = judge_claims(claims[:1], study), judge_claims(claims, study)
    assert alone.verdict == "supported"
    assert alone.p == alone.adjusted_p
    assert [each.verdict for each in three] == ["not settled"] * 3
    assert three[0].p == alone.p
    assert three[0].adjusted_p == pytest.approx(3 * alone.p)
    assert (
        f"Not settled, for these two trainings only, because its p-value is {3 * alone.p:.3f} "
        "after the correction for several claims ("
    ) in three[0].sentence


def test_a_claim_that_cannot_be_tested_makes_the_other_claims_no_harder(tiny_params: Params) -> None:
    made = {"ads": flags(540), "ssm": flags(500), "attention": flags(100)}  # of ten classes: the last one guesses
    found = {run: with_own_checkpoint(results(tiny_params, run, {"clean": each})) for run, each in made.items()}
    claims = [ClaimParams(says=than, run="ads", than=than, measures=("clean",)) for than in ("ssm", "attention")]
    testable, other = judge_claims(claims, Study(found, {}, {}, 10, 0.95))
    assert other.verdict == "not testable"
    assert testable.p is not None
    assert testable.adjusted_p == testable.p


@pytest.mark.parametrize(("p", "text"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (0.0496, "0.050")])
def test_a_p_value_is_never_written_as_zero(p: float, text: str) -> None:
    assert p_text(p) == text


@settings(deadline=None, max_examples=30)
@given(st.lists(st.none() | st.floats(0, 1), max_size=6))
def test_holms_correction_by_its_definition(p_values: list[float | None]) -> None:
    known = sorted(p for p in p_values if p is not None)
    for p, found in zip(p_values, holm(p_values), strict=True):
        if p is None:
            assert found is None
        else:  # the largest, over all p-values up to this one, of p times how many are at least as large
            expected = max(min(1.0, other * (len(known) - rank)) for rank, other in enumerate(known) if other <= p)
            assert found is not None
            assert found >= p
            assert found == pytest.approx(expected) or known.count(p) > 1


@pytest.mark.parametrize(("parameters", "times"), [(1000, None), (1100, None), (1101, "1.1"), (1900, "1.9")])
def test_different_model_sizes_are_named_as_a_confound(tiny_params: Params, parameters: int, times: str | None) -> None:
    claim = ClaimParams(says="A", run="ads", than="ssm", measures=("clean",))
    measures = {"clean": flags(500)}
    found = judge(
        claim,
        {
            "ads": results(tiny_params, "ads", measures, parameters=parameters),
            "ssm": results(tiny_params, "ssm", measures, parameters=1000),
        },
        {},
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
    return judge(claim, found, groups, {run: record() for run in found})


def test_groups_are_judged_over_all_their_seeds(tiny_params: Params) -> None:
    found = judged(tiny_params, "clean", {0: 800, 1: 810, 2: 806}, {0: 600, 1: 612, 2: 600})
    (item,) = found.evidence
    assert found.verdict == "supported"
    assert (item.run, item.than) == pytest.approx(((0.8 + 0.81 + 0.806) / 3, (0.6 + 0.612 + 0.6) / 3))
    assert item.difference is not None
    assert item.difference.value == pytest.approx(item.run - item.than)
    assert (item.difference.seeds, item.difference.n) == ((3, 3), 1000)
    assert found.sentence.startswith("Supported, over the seeds 0, 1 and 2: clean 80.5% against 60.4%, +20.1 points")
    assert "n = 3 seeds x 1000 images" in found.sentence
    back = judged(tiny_params, "clean", {0: 600, 1: 612, 2: 600}, {0: 800, 1: 810, 2: 806})
    assert back.verdict == "contradicted"


@pytest.mark.parametrize("ssm", [{0: 600, 1: 612, 2: 600, 3: 602, 4: 606}, {3: 602, 4: 606}])
def test_groups_may_have_different_seeds(tiny_params: Params, ssm: dict[int, int]) -> None:
    found = judged(tiny_params, "clean", {0: 800, 1: 810, 2: 806}, ssm)
    (item,) = found.evidence
    assert item.difference is not None
    assert found.verdict == "supported"
    assert (item.run, item.than) == pytest.approx(((0.8 + 0.81 + 0.806) / 3, sum(ssm.values()) / len(ssm) / 1000))
    assert item.difference.value == pytest.approx(item.run - item.than)
    assert item.difference.seeds == (3, len(ssm))
    assert found.sentence.startswith(f"Supported, over 3 and {len(ssm)} seeds: clean 80.5% against 60.4%, +20.1 points")
    assert f"n = 3 and {len(ssm)} seeds x 1000 images" in found.sentence


def test_seeds_that_disagree_settle_no_claim_although_each_seed_alone_would(tiny_params: Params) -> None:
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
        ({0: 900, 1: 900}, {0: 500, 1: 500}, {"than": "ssm-pgd-s1"}),
        ({0: 900}, {0: 500, 1: 500, 2: 500}, {"run": "ads-pgd-s0"}),
    ],
)
def test_a_claim_on_a_group_and_a_single_run_is_not_settled(
    tiny_params: Params, ads: dict[int, int], ssm: dict[int, int], names: dict[str, str]
) -> None:
    found = judged(tiny_params, "clean", ads, ssm, **names)
    assert found.verdict == "not settled"
    assert found.evidence[0].difference is None
    assert "+40.0 points (no interval: one side is a single training)" in found.sentence


def test_missing_runs_and_measures_are_named(tiny_params: Params) -> None:
    claim = ClaimParams(says="A", run="ads", than="ssm", measures=("autoattack",))
    with pytest.raises(UserError, match=r"run ads, .*`ssmlab attack ads`"):
        judge(claim, {}, {})
    both = {run: results(tiny_params, run, {"clean": flags(5)}) for run in ("ads", "ssm")}
    with pytest.raises(UserError, match="autoattack on the best checkpoint of run ads"):
        judge(claim, both, {})
    gap = ClaimParams(says="A", run="ads", than="ssm", measures=("ro_gap:clean",))
    with pytest.raises(UserError, match="clean on the last checkpoint of run ads"):
        judge(gap, both, {})


def test_the_tally_counts_verdicts(tiny_params: Params) -> None:
    high, low = {"clean": flags(800)}, {"clean": flags(500)}
    judged = (verdict(tiny_params, high, low, "clean"), verdict(tiny_params, low, high, "clean"))
    assert tally(judged) == "1 supported and 1 contradicted"
