from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from scipy import stats

from ssmlab.analysis.protocol import by_strength, longest_pgd
from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import WORST, Summary, load_summary
from ssmlab.core.errors import ProtocolMismatch, UserError
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.results import AttackResults, Check
from ssmlab.params import AttackSpec, Params
from ssmlab.project.params_file import load_params
from tests.analysis.synthetic import data_summary, default_study, protocol, results, seeded_params, seeded_study


@pytest.fixture
def params(project: Path) -> Params:
    return load_params(project / "studies" / "mnist5k-published.yaml")


@pytest.fixture
def summary(params: Params) -> Summary:
    return summarize(params.study, default_study(params), params.analyze, data_summary())


def test_every_number_comes_from_the_flags(params: Params, summary: Summary) -> None:
    for result, run in zip(default_study(params), summary.runs, strict=True):
        for which, checkpoint in result.checkpoints.items():
            for name, measure in checkpoint.measures.items():
                found = run.measure(name, which)
                assert found is not None
                assert found.value == measure.flags.count("1") / len(measure.flags)
                exact = stats.binomtest(found.correct, found.n).proportion_ci(0.95, method="wilson")
                assert found.interval == pytest.approx((exact.low, exact.high))
    first = summary.runs[0]
    best, last = first.measure("pgd-10", "best"), first.measure("pgd-10", "last")
    assert best and last
    assert first.gaps["pgd-10"].value == pytest.approx(best.value - last.value)


def test_the_overview_of_a_check_shows_the_checkpoint_that_is_furthest_beyond_its_threshold(params: Params) -> None:
    values = [(0.5, 0.6), (0.3, 0.1), (0.2, 0.1)]  # value and threshold on the best checkpoints of the first runs

    def with_check(found: AttackResults, value: float, threshold: float) -> AttackResults:
        check = Check(name="random", value=value, threshold=threshold, raised=value > threshold)
        best = found.checkpoints["best"].model_copy(update={"checks": (check,)})
        return found.model_copy(update={"checkpoints": {**found.checkpoints, "best": best}})

    study = [with_check(each, *numbers) for each, numbers in zip(default_study(params), values, strict=False)]
    settings = params.analyze.model_copy(update={"claims": ()})
    (found,) = summarize(params.study, study, settings, data_summary()).checks
    assert (found.models, found.raised, found.run, found.which) == (3, 2, study[1].run, "best")
    assert (found.value, found.threshold) == (0.3, 0.1)


def test_the_confidence_asked_for_is_the_one_used(params: Params) -> None:
    wide = params.analyze.model_copy(update={"confidence": 0.99, "claims": ()})
    found = summarize(params.study, default_study(params), wide, data_summary()).runs[0].measure("clean", "best")
    assert found is not None
    exact = stats.binomtest(found.correct, found.n).proportion_ci(0.99, method="wilson")
    assert found.interval == pytest.approx((exact.low, exact.high))


def test_a_summary_has_the_studys_order_labels_and_main_attack(params: Params, summary: Summary) -> None:
    assert [run.name for run in summary.runs] == list(params.runs)
    assert summary.measures == ("clean", "fgsm", "pgd-10", "autoattack", WORST)
    assert summary.main_attack() == "pgd-10"
    labels = {run.name: (run.label, run.regime) for run in summary.runs}
    assert labels["ads"] == ("S4 + AdS (relu)", "PGD-7 AT")
    assert labels["ssm-gelu"][0] == "S4 + GELU"
    assert labels["attention"][0] == "Mega"
    assert labels["ssm-standard"] == ("S4", "standard")


def test_attacks_are_ordered_by_kind_and_then_by_steps() -> None:
    names = ("autoattack", "pgd-7", "pgd-100", "apgd-ce", "pgd-20", "fgsm")
    attacks = {name: parse_attack(name, 0.1) for name in names}
    assert by_strength(attacks) == ["fgsm", "pgd-7", "pgd-20", "pgd-100", "apgd-ce", "autoattack"]
    assert longest_pgd(attacks) == "pgd-100"


def test_a_token_attack_is_the_main_attack_only_if_there_is_no_other(tiny_params: Params) -> None:
    best = {"clean": "1110", "token-2": "1000"}
    tokens = {"token-2": parse_attack("token-2", 0.1)}

    def main(attacks: dict[str, AttackSpec], flags: dict[str, str]) -> str:
        under = protocol(tiny_params, 4, attacks={name: spec.plain() for name, spec in attacks.items()})
        found = [results(tiny_params, "ssm", best | flags, under=under)]
        return summarize("smoke", found, no_claims(), data_summary()).main_attack()

    assert main(tokens, {}) == "token-2"
    assert main({"pgd-2": parse_attack("pgd-2", 0.1), **tokens}, {"pgd-2": "11"}) == "pgd-2"


@pytest.fixture
def seeded(params: Params) -> Summary:
    found = seeded_params(params)
    return summarize(params.study, seeded_study(found), found.analyze, data_summary())


def test_groups_are_the_means_and_deviations_of_their_runs(seeded: Summary) -> None:
    assert [group.name for group in seeded.groups] == ["ssm-pgd", "ssm-trades", "ads-pgd", "ads-trades"]
    runs = {run.name: run for run in seeded.runs}
    for group in seeded.groups:
        assert group.runs == tuple(f"{group.name}-s{seed}" for seed in (0, 1, 2))
        assert group.seeds == (0, 1, 2)
        for which in ("best", "last"):
            for name in seeded.measures:
                values = [runs[run].checkpoints[which].measures[name].value for run in group.runs]
                spread = group.measure(name, which)
                assert spread is not None
                assert (spread.mean, spread.n) == (pytest.approx(statistics.fmean(values)), 3)
                assert spread.std == pytest.approx(statistics.stdev(values))
                assert spread.std > 0
        for name, spread in group.gaps.items():
            values = [runs[run].gaps[name].value for run in group.runs]
            assert (spread.mean, spread.std) == pytest.approx((statistics.fmean(values), statistics.stdev(values)))
        assert set(group.gaps) == set(seeded.measures)


def test_a_single_run_is_a_group_without_a_standard_deviation(summary: Summary) -> None:
    assert not summary.several_seeds
    assert [group.name for group in summary.groups] == [run.name for run in summary.runs]
    for group, run in zip(summary.groups, summary.runs, strict=True):
        assert (group.runs, group.seeds) == ((run.name,), (0,))
        for name, spread in group.checkpoints["best"].items():
            assert (spread.mean, spread.std, spread.n) == (run.checkpoints["best"].measures[name].value, None, 1)


def test_groups_are_read_back_as_they_were_written(seeded: Summary, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(seeded.plain(), sort_keys=True))
    assert load_summary(path) == seeded


def test_the_data_are_those_that_were_attacked(params: Params) -> None:
    found = summarize(params.study, default_study(params), params.analyze, data_summary("re-encoded", "x-jpeg")).data
    assert (found.name, found.provenance, found.description) == ("x-jpeg", "re-encoded", "MNIST, 5,000 images")
    assert (found.train, found.validation, found.test, found.classes) == (3500, 500, 1000, 10)
    other = data_summary(fingerprint="ef" * 32)
    with pytest.raises(
        UserError, match=r"fingerprint efefefefefef\) is not the one .* abababababab\); run `ssmlab repro`"
    ):
        summarize(params.study, default_study(params), params.analyze, other)


def test_a_summary_is_read_back_as_it_was_written(summary: Summary, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary.plain(), sort_keys=True))
    assert load_summary(path) == summary


def test_worst_cases_over_different_measures_are_not_subtracted(tiny_params: Params) -> None:
    best = {"clean": "1110", "pgd-2": "1100", "autoattack": "1000"}
    found = summarize(
        "smoke", [results(tiny_params, "ssm", best, {"clean": "1110", "pgd-2": "0100"})], no_claims(), data_summary()
    )
    assert set(found.runs[0].gaps) == {"clean", "pgd-2"}
    assert found.runs[0].gaps["pgd-2"].value == 0.25


def no_claims() -> object:
    from ssmlab.params import AnalyzeParams

    return AnalyzeParams(confidence=0.95, claims=())


def test_mixed_protocols_are_refused(tiny_params: Params) -> None:
    flags = {"clean": "1100", "pgd-2": "1000"}
    other = protocol(tiny_params, 4, seed=7)
    found = [
        results(tiny_params, "ssm", flags),
        results(tiny_params, "attention", flags),
        results(tiny_params, "ads", flags, under=other),
    ]
    with pytest.raises(ProtocolMismatch, match=r"ads and ssm .*seed 7 against 0.*`ssmlab repro`") as refused:
        summarize("smoke", found, no_claims(), data_summary())
    assert refused.value.code == 3
    assert "\n" not in str(refused.value)


def test_settings_of_another_version_are_refused(tiny_params: Params) -> None:
    old = results(tiny_params, "ssm", {"clean": "10"})
    old = old.model_copy(update={"model": {**old.model, "colour": "red"}})
    with pytest.raises(UserError, match=r"run ssm come from another version .*model\.colour"):
        summarize("smoke", [old], no_claims(), data_summary())


@pytest.mark.parametrize("content", [None, "{", "{}", '{"format": 2}'])
def test_a_summary_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "summary.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="`ssmlab analyze`") as refused:
        load_summary(path)
    assert "\n" not in str(refused.value)
