"""params.yaml: every mistake is one line with file and key; what is valid comes back as it was written."""

from __future__ import annotations

import copy
import hashlib
import math
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ssmlab.core.errors import UserError
from ssmlab.params import ModelParams, Params
from ssmlab.params.written_float import WrittenFloat
from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.params_file import load_params, merged, parse_params, read_yaml

PROJECT = Path(__file__).resolve().parents[2]
STUDIES = sorted((PROJECT / "studies").glob("*.yaml"))
SMOKE = read_yaml(PROJECT / "studies" / "smoke.yaml")
REMOVED = object()


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The smoke study with dotted keys set to values, or REMOVED."""
    raw = copy.deepcopy(SMOKE)
    for key, value in changes:
        *parents, last = key.split(".")
        section = raw
        for parent in parents:
            section = section.setdefault(parent, {})
        if value is REMOVED:
            del section[last]
        else:
            section[last] = value
    return raw


def problem(*changes: tuple[str, Any]) -> str:
    """What is said about the changed smoke study, as it is read from a file called study.yaml."""
    with pytest.raises(UserError) as caught:
        parse_params(changed(*changes), "study.yaml")
    text = str(caught.value)
    assert text.startswith("study.yaml: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_valid_and_named_as_its_file(path: Path) -> None:
    params = load_params(path)
    assert params.study == path.stem
    assert Params.model_validate(params.plain()) == params
    assert params.runs


def test_the_default_study_is_in_use() -> None:
    assert (PROJECT / "params.yaml").read_bytes() == expanded_params_yaml(PROJECT / "studies" / "mnist5k.yaml")


def test_the_default_study_is_that_of_the_documentation() -> None:
    params = load_params(PROJECT / "params.yaml")
    assert set(params.groups) == {"ssm", "ssm-gelu", "ssm-glu", "attention", "ads", "ssm-standard"}
    assert {len(runs) for runs in params.groups.values()} == {3}  # seeds
    assert params.attack.attacks["screened-aa"].kind == "screened-autoattack"
    published = load_params(PROJECT / "studies" / "mnist5k-published.yaml").attack.attacks["autoattack"]
    assert (published.kind, published.steps, published.queries) == ("autoattack", 100, 5000)


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


@pytest.mark.parametrize("text", ["1/0", "a/3", "8/", "/255", "1/2/3", "", "eps", "nan", "inf", "1e999", "-inf"])
def test_a_value_that_is_not_a_number_is_refused(text: str) -> None:
    assert " attack.eps: " in problem(("attack.eps", text))
    with pytest.raises(ValueError, match="number"):
        WrittenFloat(text)


@pytest.mark.parametrize("value", [True, None, [0.1], {}])
def test_what_is_neither_number_nor_fraction_is_refused(value: Any) -> None:
    assert " attack.eps: " in problem(("attack.eps", value))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 1000))
def test_a_fraction_is_its_quotient_and_keeps_its_text(a: int, b: int) -> None:
    written = WrittenFloat(f" {a}/{b} ")
    assert written == float(Fraction(a, b))
    assert str(written) == written.text == f"{a}/{b}"
    for twin in (pickle.loads(pickle.dumps(written)), copy.deepcopy(written)):
        assert (twin, twin.text) == (written, written.text)


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 1e6))
def test_a_number_is_itself(value: float) -> None:
    assert WrittenFloat(value) == value
    assert math.sqrt(WrittenFloat(value)) == math.sqrt(value)


def test_a_fraction_is_written_back_as_it_was() -> None:
    params = parse_params(changed(("attack.eps", "8/255"), ("train.adversary.eps", "0.10")), "x")
    assert params.attack.eps == 8 / 255
    assert params.plain()["attack"]["eps"] == "8/255"
    assert params.runs["ssm"].train.plain()["adversary"]["eps"] == 0.1
    again = Params.model_validate(params.plain())
    assert again == params
    assert again.attack.eps.text == "8/255"


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


@pytest.mark.parametrize("name", ["1a", "s0", "lr-1e3", "a_b", "nulls", "0x"])
def test_a_name_that_dvc_can_run_is_taken(name: str) -> None:
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


def test_spaces_in_an_eps_do_not_change_it() -> None:
    one, other = (parse_params(changed(("attack.eps", text)), "x") for text in ("8/255", " 8 / 255"))
    assert one == other
    assert one.fingerprint() == other.fingerprint()


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


FREE = {"regime": "free", "free": {"replays": 2}, "adversary": {"steps": 1, "random_start": False}}


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"regime": "trades"}, "`trades` is needed exactly when `regime` is trades"),
        ({"trades": {"beta": 6.0}}, "`trades` is needed exactly when `regime` is trades"),
        ({"regime": "yopo", "yopo": {"propagations": 0}}, "propagations"),
        ({"regime": "nope"}, "regime"),
        ({"regime": "mart", "mart": {"beta": 5.0}, "awp": {"gamma": 0.005}}, "`awp`"),
        ({"regime": "mart", "mart": {"beta": 5.0}, "label_smoothing": 0.1}, "`label_smoothing`"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"averaging": {"decay": 1.0}}, "averaging.decay"),
        ({"patience": 0}, "patience"),
        (FREE | {"adversary": {"steps": 2, "random_start": False}}, "`adversary.steps` to 1"),
        (FREE | {"adversary": {"steps": 1}}, "`adversary.random_start` to false"),
        (FREE | {"epochs": 3}, "`free.replays` 2 must divide `epochs` 3"),
        ({"regime": "fgsm", "fgsm": {"noise": 1.0, "clip": True}}, "`adversary.steps` to 1"),
        (
            {"regime": "trades", "trades": {"beta": 6.0}, "adversary": {"random_start": False}},
            "`adversary.random_start` to true",
        ),
        ({"adversary": {"norm": "l1"}}, "adversary.norm"),
    ],
)
def test_settings_that_contradict_the_regime_are_refused(train: dict[str, Any], said: str) -> None:
    text = problem(("runs.ads.train", train))
    assert "runs.ads" in text
    assert said in text


def test_valid_regimes_are_accepted() -> None:
    params = parse_params(changed(("runs.ads.train", FREE), ("train.adversary.norm", "l2")), "x")
    train = params.run("ads").train
    assert (train.replays, train.passes, train.adversary.norm, train.adversarial) == (2, 1, "l2", True)
    assert train.selection.adversary.norm == "linf"
    shared = params.run("ssm").train
    assert (shared.replays, shared.passes) == (1, 2)
    assert Params.model_validate(params.plain()) == params


def test_a_mistake_in_the_shared_section_is_named_there_and_in_a_run_there() -> None:
    assert " train.epochs: " in problem(("train.epochs", 0))
    shared_is_fine = problem(("runs.ads.train", {"epochs": 0}))
    assert " runs.ads.train.epochs: " in shared_is_fine
    assert "more" not in problem(("train.epochs", 0))  # one mistake, though it reaches three runs


def test_every_further_mistake_is_counted() -> None:
    assert "1 more" in problem(("train.epochs", 0), ("data.test", 0))


def test_a_runs_changes_are_merged_into_the_shared_sections() -> None:
    changes = {"epochs": 7, "adversary": {"eps": "1/4"}, "selection": {"by": "clean"}}
    params = parse_params(changed(("runs.ads.train", changes)), "x")
    own, shared = params.run("ads").train, params.run("ssm").train
    assert (own.epochs, own.adversary.eps, own.selection.by) == (7, 0.25, "clean")
    assert own.adversary.alpha == shared.adversary.alpha
    assert own.selection.split == shared.selection.split
    assert (shared.epochs, shared.adversary.eps, shared.selection.by) == (2, 0.1, "robust")
    assert params.run("ads").model.ads is not None
    assert params.run("ssm").model.ads is None


def test_merging_changes_neither_of_the_two_mappings() -> None:
    base, change = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 5}, "e": {"f": 1}}
    copies = copy.deepcopy((base, change))
    assert merged(base, change, "x") == {"a": {"b": 5, "c": [1]}, "d": 2, "e": {"f": 1}}
    assert (base, change) == copies
    with pytest.raises(UserError, match=r"x\.a"):
        merged(base, {"a": 3}, "x")


def test_equal_settings_have_equal_fingerprints() -> None:
    params = parse_params(SMOKE, "x")
    backwards = {key: SMOKE[key] for key in reversed(SMOKE)}
    assert parse_params(backwards, "x").fingerprint() == params.fingerprint()
    assert Params.model_validate(params.plain()).fingerprint() == params.fingerprint()
    seen = {params.fingerprint()}
    for key, value in [
        ("attack.eps", "1/10"),
        ("attack.eps", 0.2),
        ("train.seed", 1),
        ("data.test", 50),
        ("report.title", "Another"),
        ("runs.ads.model.ads.act", "tanh"),
    ]:
        seen.add(parse_params(changed((key, value)), "x").fingerprint())
    assert len(seen) == 7


def test_sections_have_separate_fingerprints() -> None:
    one, two = parse_params(SMOKE, "x"), parse_params(changed(("attack.seed", 1)), "x")
    assert one.runs["ads"].fingerprint() == two.runs["ads"].fingerprint()
    assert one.data.fingerprint() == two.data.fingerprint()
    assert one.attack.fingerprint() != two.attack.fingerprint()


def test_the_fingerprint_of_known_settings_never_changes() -> None:
    """Checkpoints carry it: a change means that old results no longer match, and must be meant."""
    text = (
        '{"d_model":4,"d_state":2,"dropout":0.0,"enhancement":"none","layers":1,"mixer":"s4","output":"linear",'
        '"patch":2,"pointwise":"none","tokens":"raster"}'
    )
    model = ModelParams(
        mixer="s4",
        enhancement="none",
        tokens="raster",
        patch=2,
        d_model=4,
        d_state=2,
        layers=1,
        pointwise="none",
        output="linear",
        dropout=0.0,
    )
    assert model.fingerprint() == hashlib.sha256(text.encode()).hexdigest()


def test_params_cannot_be_changed_after_they_are_read() -> None:
    params = parse_params(SMOKE, "x")
    with pytest.raises(ValueError, match="frozen"):
        params.study = "other"


def test_infinite_settings_are_refused() -> None:
    """They would have no JSON, and so no fingerprint."""
    assert " train.optimizer.lr: " in problem(("train.optimizer.lr", float("inf")))
    assert " train.optimizer.weight_decay: " in problem(("train.optimizer.weight_decay", float("inf")))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a: [1, 2", id="open bracket"),
        pytest.param(b"a: b: c", id="nested mapping"),
        pytest.param(b"study: x\nstudy: y\n", id="a key twice"),
        pytest.param(b"\ta: 1", id="tab"),
        pytest.param(b"a: *b", id="unknown alias"),
        pytest.param(b"a: 1\n---\nb: 2\n", id="two documents"),
        pytest.param(b"a: !!python/object:os.system x", id="a tag"),
        pytest.param(b"\x80\x81", id="not text"),
        pytest.param(b"a: \x00", id="control character"),
        pytest.param(b"", id="empty"),
        pytest.param(b"# nothing\n", id="a comment"),
        pytest.param(b"- a\n- b\n", id="a list"),
        pytest.param(b"just text", id="text"),
        pytest.param(b"study: 2024-01-01", id="a date"),
        pytest.param(b"study: 2024-13-45", id="no date"),
        pytest.param(b"study: .inf", id="infinite"),
        pytest.param(b"study: .nan", id="no number"),
        pytest.param(b'study: "\\ud800"', id="surrogate"),
        pytest.param(b"study: &a [*a]", id="contains itself"),
        pytest.param(b"study: &a {b: *a}", id="a mapping that contains itself"),
        pytest.param(b"study: " + b"[" * 1200 + b"]" * 1200, id="1,200 brackets"),
        pytest.param(b"study: " + b"{a: " * 1200 + b"}" * 1200, id="1,200 braces"),
        pytest.param(b"? [a, b]\n: c", id="a list as key"),
        pytest.param(b"study: !!set {a, b}", id="a set"),
        pytest.param(b"study: !!binary aGk=", id="binary"),
        pytest.param(b"study: 1" + b"0" * 5000, id="5,000 digits"),
        pytest.param(b"study: !!timestamp x", id="a tag that does not fit"),
        pytest.param(b"study: !!int x", id="no number by tag"),
        pytest.param(
            b"a: &a [1, 1]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (n, n, n - 1, n - 1) for n in range(98, 123)),
            id="nested anchors",
        ),
    ],
)
def test_a_file_that_is_not_a_study_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500 + len(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        load_params(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_params(tmp_path)


def test_the_line_of_a_syntax_error_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("study: x\nmodel:\n  patch: 4\n   layers: 2\n")
    with pytest.raises(UserError, match="line 4"):
        load_params(path)


def test_errors_name_the_file_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(changed(("train.epochs", 0)), file)
    with pytest.raises(UserError, match=r"odd\.yaml: train\.epochs: "):
        load_params(path)


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("1e-3", 1e-3), ("0.1", 0.1), ("1", 1.0), (".5", 0.5)])
def test_numbers_are_read_in_every_form_that_people_write(text: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text((PROJECT / "studies" / "smoke.yaml").read_text().replace("eps: 0.1\n", f"eps: {text}\n"))
    assert load_params(path).attack.eps == value
