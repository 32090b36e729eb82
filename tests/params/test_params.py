"""params.yaml: every mistake is one line with file and key; what is valid comes back as it was written."""

from __future__ import annotations

from typing import Any

import pytest

from ssmlab.core.errors import UserError
from ssmlab.project.params_file import parse_params
from tests.params.smoke import REMOVED, SMOKE, changed, problem


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("modle", {}, "modle"),
        ("model.widht", 3, "model.widht"),
        ("train.adversary.epsilon", 0.1, "train.adversary.epsilon"),
        ("runs.ads.model.widht", 3, "runs.ads.model.widht"),
        ("runs.ads.trian", {}, "runs.ads.trian"),
        ("attack.attacks.fgsm.steps", 3, "attack.attacks.fgsm.steps"),
        ("data.klasses", 10, "data.klasses"),
    ],
)
def test_an_unknown_key_is_named(key: str, value: Any, named: str) -> None:
    text = problem((key, value))
    assert f" {named}: " in text
    assert "unknown" in text


@pytest.mark.parametrize(
    "key",
    [
        "study",
        "data",
        "attack",
        "report",
        "data.seed",
        "model.mixer",
        "train.optimizer.lr",
        "train.adversary.eps",
        "attack.eps",
        "attack.attacks.pgd-2.alpha",
        "runs.attention.model.mega.z",
    ],
)
def test_a_missing_key_is_named(key: str) -> None:
    text = problem((key, REMOVED))
    assert f" {key}: " in text
    assert "missing" in text


@pytest.mark.parametrize("section", ["model", "train", "runs"])
def test_a_missing_shared_section_is_named(section: str) -> None:
    assert f" {section}: " in problem((section, REMOVED))
    assert f" {section}: " in problem((section, 3))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", 3),
        ("data.test", "many"),
        ("data.test", 1.5),
        ("data.test", True),
        ("data.seed", None),
        ("model.layers", "2"),
        ("model.dropout", "none"),
        ("train.epochs", 2.0),
        ("train.adversary.random_start", "yes"),
        ("train.adversary.random_start", 1),
        ("train.optimizer.lr", "fast"),
        ("attack.attacks", ["fgsm"]),
        ("attack.attacks.fgsm.images", "some"),
        ("attack.attacks.fgsm.images", True),
        ("analyze.claims", 3),
        ("report.title", ["a"]),
    ],
)
def test_a_value_of_the_wrong_type_is_named(key: str, value: Any) -> None:
    assert f" {key}: " in problem((key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.name", "MNIST"),
        ("data.validation", -1),
        ("model.mixer", "lstm"),
        ("model.d_state", 15),
        ("model.d_state", 0),
        ("model.dropout", 1.0),
        ("model.dropout", -0.1),
        ("train.epochs", 0),
        ("train.batch_size", -1),
        ("train.adversary.eps", -0.1),
        ("train.adversary.eps", "-8/255"),
        ("train.optimizer.lr", 0.0),
        ("train.optimizer.weight_decay", -1e-4),
        ("train.optimizer.schedule", "linear"),
        ("train.selection.split", "train"),
        ("train.augment.crop", -1),
        ("train.device", "gpu"),
        ("attack.attacks.fgsm.images", 0),
        ("attack.attacks.pgd-2.steps", 0),
        ("analyze.confidence", 0.5),
        ("analyze.confidence", 95),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key(key: str, value: Any) -> None:
    text = problem((key, value))
    assert f" {key}: " in text
    assert str(value) in text


def test_an_unknown_kind_of_checkpoint_is_refused() -> None:
    assert " attack.attacks.fgsm.checkpoints" in problem(("attack.attacks.fgsm.checkpoints", ["best", "worst"]))
    assert " attack.attacks.fgsm.checkpoints" in problem(("attack.attacks.fgsm.checkpoints", []))


@pytest.mark.parametrize("kind", ["cw", 3, REMOVED])
def test_an_unknown_kind_of_attack_is_refused(kind: Any) -> None:
    text = problem(("attack.attacks.fgsm.kind", kind))
    assert " attack.attacks.fgsm.kind: " in text
    assert all(known in text for known in ("fgsm", "pgd", "autoattack"))


def test_a_study_without_runs_and_an_unknown_run_are_refused() -> None:
    assert " runs: " in problem(("runs", {}))
    assert " runs: " in problem(("runs", None))
    assert "runs.ssm" in problem(("runs.ssm", 3))
    with pytest.raises(UserError, match=r"'nope'.*ssm, attention and ads"):
        parse_params(SMOKE, "x").run("nope")


@pytest.mark.parametrize("falsy", [0, False, "", []])
def test_a_run_that_is_empty_but_not_a_mapping_is_refused(falsy: Any) -> None:
    assert "runs.ssm" in problem(("runs.ssm", falsy))


def test_a_run_removes_a_section_by_setting_it_to_null() -> None:
    params = parse_params(changed(("model.enhancement", "ads"), ("model.ads", {"act": "relu", "parts": "both"}),
                                  ("runs", {"ssm": {"model": {"enhancement": "none", "ads": None}}}),
                                  ("analyze.claims", [])), "x")  # fmt: skip
    assert params.runs["ssm"].model.ads is None


@pytest.mark.parametrize("seed", [-1, 2**63])
@pytest.mark.parametrize("key", ["data.seed", "train.seed", "attack.seed"])
def test_a_seed_that_does_not_fit_a_generator_is_refused(key: str, seed: int) -> None:
    assert f" {key}: " in problem((key, seed))


def test_a_run_without_changes_may_be_left_blank() -> None:
    assert parse_params(changed(("runs.ssm", None)), "x") == parse_params(changed(("runs.ssm", {})), "x")


@pytest.mark.parametrize("name", ["Ads", "a b", "../x", "-x", ".x", "a/b", "é", ""])
def test_a_name_has_lower_case_letters_digits_and_few_signs(name: str) -> None:
    assert f"'{name}'" in problem(("study", name))
    runs = {**SMOKE["runs"], name: {}}
    assert f"'{name}'" in problem(("runs", runs))


def test_the_study_of_imported_checkpoints_is_no_study_of_trained_ones() -> None:
    assert "study: 'imported' is the study of imported checkpoints" in problem(("study", "imported"))


@pytest.mark.parametrize("name", ["lr0.01", "1", "1e3", "0x1f", "007", "null", "true"])
def test_a_name_that_dvc_cannot_run_is_refused_by_name(name: str) -> None:
    text = problem(("runs", {**SMOKE["runs"], name: {}}))
    assert f"runs: '{name}' cannot be a run's name" in text


@pytest.mark.parametrize("key", [1, 0.5, True, None])
def test_a_name_that_yaml_takes_for_a_value_is_refused_by_name(key: Any) -> None:
    assert f"runs: '{key}' cannot be a run's name" in problem(("runs", {**SMOKE["runs"], key: {}}))


@pytest.mark.parametrize("where", ["runs", "study", "attack.attacks", "data.name"])
def test_a_name_that_no_file_can_have_is_refused_before_any_training(where: str) -> None:
    """A run with a name of 101 characters was trained, and then its checkpoint refused."""

    def named(name: str) -> tuple[str, Any]:
        if where == "runs":
            return where, {**SMOKE["runs"], name: {}}
        if where == "attack.attacks":
            return where, {**SMOKE["attack"]["attacks"], name: SMOKE["attack"]["attacks"]["fgsm"]}
        return where, name

    parse_params(changed(named("x" * 100)), "x")
    assert "up to 100 lower-case letters" in problem(named("x" * 101))


@pytest.mark.parametrize("letter", ["\x1b", "\x07", "\u202e", "\u200b", "\ufeff", "\x85"])
def test_a_title_or_claim_with_characters_that_are_not_shown_is_refused(letter: str) -> None:
    """They went to the terminal through `ssmlab analyze`, and into the report."""
    claim = SMOKE["analyze"]["claims"][0]
    for key, value in (("report.title", f"a{letter}b"), ("analyze.claims", [{**claim, "says": f"a{letter}b"}])):
        assert "has a character that is not shown, \\" in problem((key, value))
    parse_params(changed(("report.title", "\u00e9 \u65e5\u672c, eps = 8/255 \u2265 0\n")), "x")


@pytest.mark.parametrize("name", ["1a", "s0", "lr-1e3", "a_b", "nulls", "0x"])
def test_a_name_that_dvc_can_run_is_accepted(name: str) -> None:
    assert name in parse_params(changed(("runs", {**SMOKE["runs"], name: {}})), "x").runs


@pytest.mark.parametrize("key", ["attack.eps", "attack.attacks.pgd-2.alpha", "train.adversary.eps"])
def test_an_eps_of_255_is_refused_with_the_way_to_write_it(key: str) -> None:
    text = problem((key, 8))
    assert f"{key}: must be at most 1" in text
    assert "8/255" in text
    parse_params(changed((key, 1)), "x")


def test_an_l2_eps_may_be_larger_than_one() -> None:
    """An image of n pixels in [0, 1] has an L2 norm of up to the root of n."""
    parse_params(changed(("train.adversary.norm", "l2"), ("train.adversary.eps", 1.5)), "x")


def test_an_attack_in_l2_may_have_an_eps_and_steps_larger_than_one() -> None:
    params = parse_params(changed(("attack.norm", "l2"), ("attack.eps", 1.5), ("attack.attacks.pgd-2.alpha", 2)), "x")
    assert (params.attack.norm, float(params.attack.eps)) == ("l2", 1.5)
    assert parse_params(SMOKE, "x").attack.norm == "linf"


@pytest.mark.parametrize("key", ["train.epochs", "train.batch_size", "model.d_model"])
def test_a_size_beyond_any_memory_is_refused(key: str) -> None:
    assert f" {key}: " in problem((key, 10**11))


def test_an_attack_must_not_be_named_clean() -> None:
    text = problem(("attack.attacks.clean", SMOKE["attack"]["attacks"]["fgsm"]))
    assert "clean" in text
    assert "attack" in text


@pytest.mark.parametrize(
    ("part", "value", "known"),
    [
        ("run", "nope", "ssm, attention and ads"),
        ("than", "nope", "ssm, attention and ads"),
        ("measures", ["clean", "nope"], "clean, fgsm, pgd-2, autoattack"),
        ("measures", ["ro_gap:nope"], "clean, fgsm, pgd-2, autoattack"),
    ],
)
def test_a_claim_about_an_unknown_run_is_refused(part: str, value: Any, known: str) -> None:
    claim = {**SMOKE["analyze"]["claims"][0], part: value}
    text = problem(("analyze.claims", [claim]))
    assert "analyze.claims" in text
    assert "nope" in text
    assert known in text


@pytest.mark.parametrize(
    ("changes", "section"),
    [
        ([("runs.ssm.model", {"enhancement": "ads"})], "ads"),
        ([("runs.ads.model.enhancement", "none")], "ads"),
        ([("runs.ssm.model", {"mixer": "mega"})], "mega"),
        ([("runs.attention.model.mixer", "dss")], "mega"),
        ([("runs.ssm.model", {"mixer": "s4d"})], "s4d"),
        ([("runs.ssm.model", {"s4d": {"discretisation": "zoh", "initial": "lin"}})], "s4d"),
        ([("runs.attention.model.bidirectional", True)], "bidirectional"),
        ([("runs.ssm.model", {"mixer": "s5", "bidirectional": True})], "bidirectional"),
    ],
)
def test_a_section_is_needed_exactly_when_its_switch_is_on(changes: list[tuple[str, Any]], section: str) -> None:
    text = problem(*changes)
    assert f"`{section}`" in text
    assert changes[0][0].split(".")[1] in text


def test_a_mistake_in_the_shared_section_is_named_there_and_in_a_run_there() -> None:
    assert " train.epochs: " in problem(("train.epochs", 0))
    shared_is_fine = problem(("runs.ads.train", {"epochs": 0}))
    assert " runs.ads.train.epochs: " in shared_is_fine
    assert "more" not in problem(("train.epochs", 0))  # one mistake, though it reaches three runs


def test_every_further_mistake_is_counted() -> None:
    assert "1 more" in problem(("train.epochs", 0), ("data.test", 0))
