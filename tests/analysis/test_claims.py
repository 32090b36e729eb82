from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.analysis.claims import Judgement, holm, judge_claims, tally
from ssmlab.analysis.sides import Study
from ssmlab.analysis.training_record import TrainingRecord
from ssmlab.artifacts.history import Row
from ssmlab.core.errors import UserError
from ssmlab.evaluation.results import AttackResults
from ssmlab.params import ClaimParams, Params
from tests.analysis.synthetic import results, seeded_params


def judge(
    claim: ClaimParams,
    found: Mapping[str, AttackResults],
    groups: Mapping[str, Sequence[str]],
    records: Mapping[str, TrainingRecord] | None = None,
) -> Judgement:
    """The verdict on the only claim of a study; every run has its own checkpoint."""
    study = Study({run: with_own_checkpoint(each) for run, each in found.items()}, groups, records or {}, 10, 0.95)
    return judge_claims([claim], study)[0]


def with_own_checkpoint(result: AttackResults) -> AttackResults:
    checkpoints = {
        which: each.model_copy(update={"sha256": f"{result.run} {which}", "epoch": 5 if which == "best" else 10})
        for which, each in result.checkpoints.items()
    }
    return result.model_copy(update={"checkpoints": checkpoints})


def record(asked: int = 10, done: int = 10, rise: float = 0.0, gap: float | None = 0.2) -> TrainingRecord:
    return TrainingRecord(done=done, asked=asked, rise=rise, gap=gap)


def flags(right: int, n: int = 1000) -> str:
    return "1" * right + "0" * (n - right)


def verdict(params: Params, run: dict[str, str], than: dict[str, str], *measures: str) -> Judgement:
    claim = ClaimParams(says="A is higher", run="ads", than="ssm", measures=measures)
    found = {"ads": results(params, "ads", run, run), "ssm": results(params, "ssm", than, than)}
    return judge(claim, found, {})


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


def test_a_small_difference_is_not_settled(tiny_params: Params) -> None:
    found = verdict(tiny_params, {"clean": flags(56, 100)}, {"clean": flags(54, 100)}, "clean")
    assert found.verdict == "not settled"


def ro_claim(
    params: Params, records: Mapping[str, TrainingRecord], best: int = 5, seeds: Sequence[int] = (0, 1, 2)
) -> Judgement:
    """The claim that AdS falls more from best to last, where it loses 100 of 1,000 images per seed and S4 none."""
    study = seeded_params(params, seeds=seeds)
    found = {}
    for group, fall in (("ads-pgd", 100), ("ssm-pgd", 0)):
        for seed in seeds:
            one, other = {"clean": flags(900), "pgd-2": flags(700)}, {"clean": flags(900), "pgd-2": flags(700 - fall)}
            result = with_own_checkpoint(results(study, f"{group}-s{seed}", one, other))
            checkpoints = dict(result.checkpoints)
            checkpoints["best"] = checkpoints["best"].model_copy(update={"epoch": best})
            found[result.run] = result.model_copy(update={"checkpoints": checkpoints})
    groups = {name: [run for run in found if run.startswith(name)] for name in ("ads-pgd", "ssm-pgd")}
    claim = ClaimParams(says="falls more", run="ads-pgd", than="ssm-pgd", measures=("ro_gap:pgd-2",))
    return judge_claims([claim], Study(found, groups, {run: records.get(run, record()) for run in found}, 10, 0.95))[0]


def test_robust_overfitting_is_judged_on_trainings_that_could_have_overfitted(tiny_params: Params) -> None:
    found = ro_claim(tiny_params, {})
    assert found.verdict == "supported"
    assert "RO gap under pgd-2 +10.0 against 0.0 points, +10.0 points" in found.sentence


@pytest.mark.parametrize(
    ("records", "changes", "reason"),
    [
        ({}, {"best": 8}, "ads-pgd-s0 has its best epoch at 8 of 10, too late to overfit after it"),
        ({"ssm-pgd-s1": record(gap=0.09)}, {}, "ssm-pgd-s1 is only 9.0 points better on training than"),
        ({"ssm-pgd-s1": record(gap=None)}, {}, "ssm-pgd-s1 has no robust accuracy on training images"),
        ({}, {"seeds": (0, 1)}, "robust overfitting needs 3 seeds on both sides, and there are 2"),
    ],
)
def test_robust_overfitting_is_not_testable_on_trainings_that_could_not_have_overfitted(
    tiny_params: Params, records: Mapping[str, TrainingRecord], changes: dict[str, Any], reason: str
) -> None:
    found = ro_claim(tiny_params, records, **changes)
    assert found.verdict == "not testable"
    assert found.sentence.startswith("Not testable, over the seeds")
    assert any(each.startswith(reason) for each in found.reasons)
    assert (found.p, found.adjusted_p) == (None, None)


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (record(done=4), "ads was cut short (epoch 4 of 10)"),
        (record(rise=0.02), "ads was still improving (+2.0 points of robust validation accuracy in its last 2 epochs)"),
    ],
)
def test_an_unfinished_training_settles_no_claim(tiny_params: Params, kept: TrainingRecord, reason: str) -> None:
    claim = ClaimParams(says="A", run="ads", than="ssm", measures=("clean",))
    high, low = {"clean": flags(813)}, {"clean": flags(560)}
    runs = {"ads": results(tiny_params, "ads", high, high), "ssm": results(tiny_params, "ssm", low, low)}
    found = judge(claim, runs, {}, {"ads": kept, "ssm": record()})
    assert found.verdict == "not settled"
    assert found.sentence.startswith(f"Not settled, because {reason}: clean 81.3%")
    assert judge(claim, runs, {}, {"ads": record(rise=0.009), "ssm": record()}).verdict == "supported"


def test_a_model_at_chance_gets_no_verdict(tiny_params: Params) -> None:
    found = verdict(tiny_params, {"clean": flags(813)}, {"clean": flags(110)}, "clean")
    assert found.verdict == "not testable"
    assert found.reasons == ("ssm is not better than chance",)
    assert verdict(tiny_params, {"clean": flags(813)}, {"clean": flags(130)}, "clean").verdict == "supported"


def test_a_checkpoint_is_not_compared_with_itself(tiny_params: Params) -> None:
    same = results(tiny_params, "ads", {"clean": flags(800)})
    claim = ClaimParams(says="A", run="ads", than="ssm", measures=("clean",))
    study = Study({"ads": same, "ssm": same.model_copy(update={"run": "ssm"})}, {}, {}, 10, 0.95)
    (found,) = judge_claims([claim], study)
    assert found.verdict == "not testable"
    assert found.reasons == ("both sides are the same checkpoint",)


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


def test_a_record_is_read_from_the_history() -> None:
    robust = [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.52, 0.5, 0.53]
    rows = [
        Row(i + 1, i, 0.1, 1.0, None, 0.8, value, 1.0, 1.0, train_eval_robust=value + 0.2, epochs=12)
        for i, value in enumerate(robust)
    ]
    found = TrainingRecord.of(rows, asked=99)
    assert (found.done, found.asked) == (10, 12)
    assert (found.rise, found.gap) == (pytest.approx(0.53 - 0.52), pytest.approx(0.2))
    old = [row._replace(train_eval_robust=None, epochs=None) for row in rows]
    assert (TrainingRecord.of(old, asked=10).asked, TrainingRecord.of(old, asked=10).gap) == (10, None)
    assert TrainingRecord.of(rows[:1], asked=12).rise == 0.0


@pytest.mark.parametrize("images", [100, 200, 300, 500, 1000])
def test_a_rise_of_exactly_one_point_is_no_flag_for_any_accuracies_and_a_gap_of_exactly_ten_is_enough(
    images: int,
) -> None:
    point, ten = images // 100, images // 10
    for right in range(images - ten + 1):
        values = [right / images] * 9 + [(right + point) / images]
        rows = [
            Row(i + 1, i, 0.1, 1.0, None, 0.8, value, 1.0, 1.0, train_eval_robust=(right + point + ten) / images)
            for i, value in enumerate(values)
        ]
        found = TrainingRecord.of(rows, asked=10)
        assert found.unfinished() is None
        assert found.cannot_show_overfitting(best_epoch=1) is None
        assert TrainingRecord.of([*rows[:-1], rows[-1]._replace(val_robust=values[-1] + 1 / images)], 10).unfinished()


@pytest.mark.parametrize(("parameters", "times"), [(1000, None), (1099, None), (1900, "1.9")])
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
