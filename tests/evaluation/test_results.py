"""Results: intervals, worst cases, signs of gradient masking, and the file."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest

from ssmlab.core.digest import sealed_json
from ssmlab.core.errors import UserError
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.checks.attacks_compared import compared_checks
from ssmlab.evaluation.protocol import Protocol, canonical_text, radius
from ssmlab.evaluation.results import (
    AttackResults,
    CheckpointResults,
    Evaluation,
    Measure,
    load_results,
    wilson,
    worst_case,
)
from ssmlab.params import AttackSpec, Params
from ssmlab.params.written_float import WrittenFloat


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.6, 0.999))
@settings(deadline=None, max_examples=25)
def test_wilson_is_scipys(counts: tuple[int, int], confidence: float) -> None:
    correct, n = counts
    theirs = binomtest(correct, n).proportion_ci(confidence, method="wilson")
    assert wilson(correct, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_solves_the_score_equation() -> None:
    low, high = wilson(63, 100)
    for bound in (low, high):
        assert (0.63 - bound) ** 2 == pytest.approx(1.959963984540054**2 * bound * (1 - bound) / 100, rel=1e-9)


def test_the_interval_of_no_and_of_all_images_ends_exactly_at_0_and_1() -> None:
    assert {wilson(0, n)[0] for n in range(1, 400)} == {0.0}
    assert {wilson(n, n)[1] for n in range(1, 400)} == {1.0}


def test_worst_case_is_over_the_images_that_all_saw() -> None:
    measures = {"clean": Measure.of("11101"), "fgsm": Measure.of("1101"), "aa": Measure.of("101")}
    worst = worst_case(measures)
    assert (worst.flags, worst.n, worst.correct, worst.over) == ("100", 3, 1, ("clean", "fgsm", "aa"))
    assert worst.interval == wilson(1, 3)


def test_an_evaluation_is_shown_as_its_accuracies_and_warnings_without_flags() -> None:
    measures = {"clean": Measure.of("1" * 100), "fgsm": Measure.of("10" * 25)}
    found = Evaluation(measures=measures, worst_case=worst_case(measures), warnings=("a reason",))
    assert (
        str(found)
        == repr(found)
        == """\
clean      100.0% of 100 images (95% interval 96.3% to 100.0%)
fgsm        50.0% of 50 images (95% interval 36.6% to 63.4%)
worst case  50.0% of 50 images (95% interval 36.6% to 63.4%)
warning: a reason"""
    )


def test_numbers_that_do_not_fit_the_flags_are_refused() -> None:
    good = Measure.of("110").plain()
    for change in ({"n": 4}, {"correct": 1}, {"flags": "1x0"}, {"accuracy": 0.97}, {"interval": [0.2, 0.9]}):
        with pytest.raises(ValidationError):
            Measure.model_validate(good | change)
    assert Measure.model_validate(good) == Measure.of("110")


def autoattacked(flags: str, fab: float, square: float) -> Measure:
    return Measure.of(flags, standard=True, parts={"apgd-ce": 1.0, "apgd-t": 1.0, "fab-t": fab, "square": square})


def raised(measures: dict[str, Measure], attacks: dict[str, AttackSpec], eps: float = 0.1) -> list[str]:
    return [check.sentence for check in compared_checks(measures, attacks, eps) if check.raised]


def test_a_weaker_attack_that_breaks_two_images_more_is_flagged() -> None:
    attacks = {name: parse_attack(name, 0.1) for name in ("autoattack", "pgd-10", "fgsm", "pgd-20")}
    measures = {
        "clean": Measure.of("111111"),
        "autoattack": autoattacked("111", 1.0, 1.0),
        "fgsm": Measure.of("100010"),
        "pgd-10": Measure.of("111010"),
        "pgd-20": Measure.of("101000"),
    }
    assert raised(measures, attacks) == [
        "fgsm leaves 2 of 6 images right, but the stronger attack pgd-10 leaves 4: the gradients may mislead it",
        "fgsm leaves 1 of 3 images right, but the stronger attack autoattack leaves 3: the gradients may mislead it",
    ]


def test_pgd_whose_steps_cannot_reach_eps_is_not_called_stronger_than_fgsm() -> None:
    attacks: dict[str, AttackSpec] = {"fgsm": parse_attack("fgsm", 0.1), "pgd-2": parse_attack("pgd-2", 0.1)}
    measures = {"fgsm": Measure.of("1000"), "pgd-2": Measure.of("1111")}
    assert len(raised(measures, attacks, eps=0.1)) == 1
    assert raised(measures, attacks, eps=0.3) == []  # its two steps come to 0.25


def test_square_that_breaks_two_images_more_than_the_gradients_is_flagged() -> None:
    attacks = {"autoattack": parse_attack("autoattack", 0.1)}
    assert raised({"autoattack": autoattacked("1000", 0.75, 0.25)}, attacks) == [
        "autoattack: Square, which uses no gradients, broke 2 of 4 images that APGD and FAB did not break: "
        "the gradients may be masked"
    ]
    assert raised({"autoattack": autoattacked("1000", 0.5, 0.25)}, attacks) == []


def test_square_alone_is_flagged_for_images_that_no_attack_with_gradients_broke() -> None:
    attacks = {name: parse_attack(name, 0.1) for name in ("fgsm", "pgd-10", "square")}
    measures = {"clean": Measure.of("111111"), "fgsm": Measure.of("011111"), "pgd-10": Measure.of("101111")}
    assert raised({**measures, "square": Measure.of("000111")}, attacks) == []
    assert raised({**measures, "square": Measure.of("000011")}, attacks) == [
        "square, which uses no gradients, broke 2 of 6 images that fgsm and pgd-10 did not break: "
        "the gradients may be masked"
    ]


def test_pgd_on_the_margin_may_break_more_than_apgd_on_another_loss() -> None:
    apgd, pgd = parse_attack("apgd-ce", 0.1), parse_attack("pgd-10", 0.1)
    measures = {"pgd-10": Measure.of("100"), "apgd-ce": Measure.of("111")}
    assert len(raised(measures, {"pgd-10": pgd, "apgd-ce": apgd})) == 1
    assert raised(measures, {"pgd-10": pgd.model_copy(update={"loss": "margin"}), "apgd-ce": apgd}) == []


@pytest.mark.parametrize(
    ("written", "text"),
    [("8/255", "8/255"), ("0.2", "0.2"), ("51/255", "0.2"), ("0.1", "0.1"), ("1/255", "1/255"), ("0.12345", "0.12345")],
)
def test_equal_radii_have_one_text_and_short_decimals_stay_decimals(written: str, text: str) -> None:
    assert canonical_text(WrittenFloat(written)) == text
    assert float(WrittenFloat(text)) == WrittenFloat(written)


def results(params: Params) -> dict[str, Any]:
    """The content of a results file, made by hand."""
    protocol = Protocol.model_validate(
        {
            "data": {
                "name": "mnist5k",
                "fingerprint": "f0",
                "split": "test",
                "n": 3,
                "indices_hash": "0a",
                "train": 9,
                "validation": 2,
            },
            "norm": "linf",
            "eps": radius(WrittenFloat("8/255")).plain(),
            "batch_size": 2,
            "seed": 0,
            "attacks": {name: spec.plain() for name, spec in params.attack.attacks.items()},
            "torchattacks": "3.5.1",
            "device": "cpu",
        }
    )
    measures = {"clean": Measure.of("110"), "autoattack": autoattacked("10", 0.5, 0.5)}
    checkpoint = {
        "measures": {name: measure.plain() for name, measure in measures.items()},
        "worst_case": worst_case(measures).plain(),
        "checks": [],
        "warnings": ["one"],
        "sha256": "ab",
        "epoch": 2,
        "val_clean": 0.5,
        "val_robust": 0.25,
        "selection_split": "validation",
    }
    run = params.runs["ads"]
    return {
        "format": 2,
        "study": "smoke",
        "run": "ads",
        "parameters": 12,
        "model": run.model.plain(),
        "train": run.train.plain(),
        "code_version": "0.1.0",
        "protocol": protocol.plain(),
        "protocol_fingerprint": protocol.fingerprint(),
        "checkpoints": {"best": checkpoint, "last": checkpoint},
    }


def test_a_file_is_read_as_it_was_written(tmp_path: Path, tiny_params: Params) -> None:
    text = sealed_json(results(tiny_params))
    file = tmp_path / "ads.json"
    file.write_text(text)
    loaded = load_results(file)
    assert sealed_json(loaded.plain()) == text
    assert AttackResults.model_validate(loaded.plain()) == loaded
    assert loaded.protocol.eps.text == "8/255"
    assert loaded.protocol.eps.value == 8 / 255
    assert loaded.checkpoints["best"].measures["autoattack"].parts == {
        "apgd-ce": 1.0,
        "apgd-t": 1.0,
        "fab-t": 0.5,
        "square": 0.5,
    }


def test_every_flipped_bit_of_attack_results_is_found(tmp_path: Path, tiny_params: Params) -> None:
    file = tmp_path / "ads.json"
    good = sealed_json(results(tiny_params)).encode()
    rng = random.Random(0)
    for position in rng.sample(range(8 * len(good)), 300):
        damaged = bytearray(good)
        damaged[position // 8] ^= 1 << position % 8
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"ads.json: .*run `ssmlab attack ads`"):
            load_results(file)


def test_results_without_a_digest_are_refused_with_the_command_that_makes_them_again(
    tmp_path: Path, tiny_params: Params
) -> None:
    file = tmp_path / "ads.json"
    file.write_text(json.dumps(results(tiny_params)))
    with pytest.raises(UserError, match=r"no digest.*run `ssmlab attack ads`"):
        load_results(file)


def test_a_model_without_parameters_is_refused(tiny_params: Params) -> None:
    """`ssmlab compare` divides by their number."""
    with pytest.raises(ValidationError, match="parameters"):
        AttackResults.model_validate(results(tiny_params) | {"parameters": 0})


def test_a_worst_case_of_other_measures_is_refused(tiny_params: Params) -> None:
    best = results(tiny_params)["checkpoints"]["best"]
    better = {**best, "worst_case": worst_case({"clean": Measure.of("110")}).plain()}
    with pytest.raises(ValidationError, match="worst_case does not agree with the measures"):
        CheckpointResults.model_validate(better)


@pytest.mark.parametrize(
    ("spellings", "text"),
    [
        (("8/255", "8 / 255", "0.03137254901960784", "16/510"), "8/255"),
        (("0.1", "1/10", ".1", "1e-1", "25.5/255"), "0.1"),
        (("0.5", "1/2", "127.5/255"), "0.5"),
        (("1/3", "0.3333333333333333", "85/255"), "85/255"),
        (("0.123456789",), "0.123456789"),
    ],
)
def test_equal_protocols_have_equal_fingerprints_however_eps_and_alpha_are_written(
    spellings: tuple[str, ...], text: str, tiny_params: Params
) -> None:
    plain = results(tiny_params)["protocol"]
    found = set()
    for spelling in spellings:
        pgd = {**plain["attacks"]["pgd-2"], "alpha": spelling}
        attacks = {**plain["attacks"], "pgd-2": pgd}
        protocol = Protocol.model_validate({**plain, "eps": radius(WrittenFloat(spelling)).plain(), "attacks": attacks})
        assert protocol.eps.text == text
        assert float(WrittenFloat(text)) == protocol.eps.value
        assert Protocol.model_validate(protocol.plain()) == protocol
        found.add(protocol.fingerprint())
    assert len(found) == 1


@given(st.floats(0.0, 1.0))
def test_the_written_form_of_a_radius_is_read_back_as_the_same_number(value: float) -> None:
    assert float(WrittenFloat(radius(value).text)) == value


def test_protocols_that_differ_have_different_fingerprints(tiny_params: Params) -> None:
    protocol = Protocol.model_validate(results(tiny_params)["protocol"])
    fields: dict[str, Any] = {"seed": 1, "batch_size": 3, "device": "cuda", "norm": "l2"}
    fields["eps"] = radius(WrittenFloat("9/255"))
    changed = [protocol.model_copy(update={key: value}).fingerprint() for key, value in fields.items()]
    assert len({protocol.fingerprint(), *changed}) == 6


def test_files_that_are_not_results_are_refused_in_one_line(tmp_path: Path, tiny_params: Params) -> None:
    file = tmp_path / "ads.json"
    with pytest.raises(UserError, match=r"ads.json: not found .* run `ssmlab attack ads`"):
        load_results(file)
    file.write_text("{")
    with pytest.raises(UserError, match=r"ads.json: cannot be read as attack results"):
        load_results(file)
    good = results(tiny_params)
    damaged = {
        "checkpoints.best.epoch": good | {"checkpoints": {"best": good["checkpoints"]["best"] | {"epoch": "2"}}},
        "format": good | {"format": 3},
        "surprise": good | {"surprise": 1},
        "protocol_fingerprint does not agree": good | {"protocol_fingerprint": "0"},
    }
    for key, value in damaged.items():
        file.write_text(sealed_json(value))
        with pytest.raises(UserError, match=rf"not attack results \({key}.*run `ssmlab attack ads`") as raised:
            load_results(file)
        assert "\n" not in str(raised.value)


def test_reading_results_imports_no_torch() -> None:
    code = "import sys, ssmlab.evaluation.results; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_torchvision_is_never_imported() -> None:
    code = "import sys, ssmlab.evaluation.evaluate; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
