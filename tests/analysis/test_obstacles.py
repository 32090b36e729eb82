"""What keeps a claim from a verdict: too few seeds, chance, one checkpoint, trainings that are not finished."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ssmlab.analysis.claims import Judgement, judge_claims
from ssmlab.analysis.sides import Study
from ssmlab.analysis.training_record import TrainingRecord
from ssmlab.artifacts.history import Row
from ssmlab.params import ClaimParams, Params
from tests.analysis.judging import flags, judge, record, verdict, with_own_checkpoint
from tests.analysis.synthetic import results, seeded_params


def ro_claim(
    params: Params,
    records: Mapping[str, TrainingRecord],
    best: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    fewer: int = 0,
) -> Judgement:
    """The claim that AdS falls more from best to last, where it loses 100 of 1,000 images per seed and S4 none.

    S4 has `fewer` seeds than AdS.
    """
    study = seeded_params(params, seeds=seeds)
    found = {}
    for group, fall in (("ads-pgd", 100), ("ssm-pgd", 0)):
        for seed in seeds[: len(seeds) - (fewer if fall == 0 else 0)]:
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
    assert ro_claim(tiny_params, {}, best=7).verdict == "supported"  # 70% of the epochs is early enough


@pytest.mark.parametrize(
    ("records", "changes", "reason"),
    [
        ({}, {"fewer": 1}, "robust overfitting needs 3 seeds on both sides, and there are 2"),
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
    assert re.match(r"Not testable, over (the seeds|3 and 2 seeds)", found.sentence)
    assert any(each.startswith(reason) for each in found.reasons)
    assert (found.p, found.adjusted_p) == (None, None)


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        (record(done=4), "ads was cut short (epoch 4 of 10)"),
        (record(done=9), "ads was cut short (epoch 9 of 10)"),
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
    other = judge(claim, runs, {}, {"ads": record(), "ssm": kept})
    assert other.sentence.startswith(f"Not settled, because {reason.replace('ads', 'ssm')}: clean 81.3%")


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


def test_groups_that_share_a_checkpoint_are_not_compared(tiny_params: Params) -> None:
    study = seeded_params(tiny_params, seeds=(0, 1))
    names = [f"{group}-s{seed}" for group in ("ads-pgd", "ssm-pgd") for seed in (0, 1)]
    found = {run: with_own_checkpoint(results(study, run, {"clean": flags(800)})) for run in names}
    found["ssm-pgd-s1"] = found["ads-pgd-s0"].model_copy(update={"run": "ssm-pgd-s1", "train": {"seed": 1}})
    claim = ClaimParams(says="A", run="ads-pgd", than="ssm-pgd", measures=("clean",))
    groups = {"ads-pgd": names[:2], "ssm-pgd": names[2:]}
    (judged,) = judge_claims([claim], Study(found, groups, {}, 10, 0.95))
    assert judged.reasons == ("both sides are the same checkpoint",)


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
