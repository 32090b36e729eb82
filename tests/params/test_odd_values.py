"""Odd values and misspelt names in params.yaml: each error names the file, the key and the value, in plain words."""

from __future__ import annotations

from typing import Any

import pytest

from ssmlab.core.errors import UserError
from ssmlab.core.plain_values import dotted_leaves
from ssmlab.project.params_file import parse_params, plain_yaml, yaml_mapping
from tests.params.smoke import SMOKE, changed, problem

# what is refused for every key that is neither a free text nor takes this value; the words that stand for the value
ODD: dict[str, tuple[Any, str]] = {
    "empty": (None, "(it is empty)"),
    "a list in a list": ([[1]], "(it is a list)"),
    "a negative number": (-3, "-3"),
    "another word": ("perhaps", "'perhaps'"),
    "text with a control character": ("\x1b[31m", r"\x1b[31m"),
    "a name of 300 letters": ("x" * 300, "xxx"),
    "a name with a slash": ("a/b", "a/b"),
    "a fraction by zero": ("8/0", "8/0"),
}
LEAVES = [key for key, value in dotted_leaves(SMOKE) if not isinstance(value, list) and value != {}]
FREE = {"data.source", "report.title"}  # any text is right
JARGON = ("valid ", "tuple", "Tuple", "ictionary", "String", "extract", "Keys", "NoneType")


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_a_refused_value_is_named_with_its_file_and_its_key_in_plain_words(value: tuple[Any, str]) -> None:
    odd, shown = value
    refused = 0
    for key in LEAVES:
        try:
            parse_params(changed((key, odd)), "study.yaml")
        except UserError as error:
            text = str(error)
            assert text.startswith(f"study.yaml: {key}: "), text
            assert shown in text
            assert text.isprintable()
            assert len(text) < 300
            assert not [word for word in JARGON if word in text], text
            refused += 1
        else:
            assert key in FREE or (odd == "perhaps" and key in ("study", "data.name")), key
    assert refused >= len(LEAVES) - len(FREE) - 2


@pytest.mark.parametrize("text", [".nan", ".inf", "1e400", "2026-11-28", "!!binary aGk=", "!!set {a}"])
def test_a_value_that_json_cannot_hold_is_refused_with_its_key(text: str) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: cannot be read: train\.optimizer\.lr: "):
        yaml_mapping(f"train:\n  epochs: 3\n  optimizer: {{lr: {text}}}\n", "params.yaml")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model.d_modell", 16, "model.d_modell: unknown key; did you mean 'd_model'?"),
        (
            "train.optimizer.weight-decay",
            0.0,
            "train.optimizer.weight-decay: unknown key; did you mean 'weight_decay'?",
        ),
        ("train.selection.adversary.stepps", 2, "train.selection.adversary.stepps: unknown key; did you mean 'steps'?"),
        ("runs.ads.model.ads.parst", "both", "runs.ads.model.ads.parst: unknown key; did you mean 'parts'?"),
        ("runs.ads.modle", {}, "runs.ads.modle: unknown key; did you mean 'model'?"),
        ("attack.attacks.pgd-2.step", 2, "attack.attacks.pgd-2.step: unknown key; did you mean 'steps'?"),
        ("analyze.claim", [], "analyze.claim: unknown key; did you mean 'claims'?"),
        ("Report", {}, "Report: unknown key; did you mean 'report'?"),
        ("runs.ads.zzz", {}, "runs.ads.zzz: unknown key; remove it or correct its spelling"),
        ("model.mixer", "maga", "(it is 'maga'; did you mean 'mega'?)"),
        ("train.regime", "PGD-AT", "(it is 'PGD-AT'; did you mean 'pgd_at'?)"),
        ("train.device", "gpu", "train.device: must be 'auto', 'cpu' or 'cuda' (it is 'gpu'"),
        ("attack.attacks.fgsm.kind", "fgms", "(it is 'fgms'; did you mean 'fgsm'?)"),
        ("attack.attacks.fgsm.kind", "zzz", "attack.attacks.fgsm.kind: must be one of token, fgsm, "),
        (
            "attack.attacks.fgsm",
            {"images": 3},
            "attack.attacks.fgsm.kind: must be one of token, ",
        ),
        ("attack.attacks", {}, "attack.attacks: at least one entry is needed"),
        ("attack.attacks", {"a b": SMOKE["attack"]["attacks"]["fgsm"]}, "attack.attacks: 'a b' cannot be a name"),
        ("study", "a b", "study: 'a b' cannot be a name"),
        ("model.mixer", {}, "model.mixer: must be"),
        ("runs.ads.model", 3, "runs.ads.model: a mapping is needed (it is 3)"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_one_that_was_meant(key: str, value: Any, says: str) -> None:
    raw = changed()
    *sections, last = key.split(".")
    below = raw
    for section in sections:
        below = below[section]
    below[last] = value
    with pytest.raises(UserError) as caught:
        parse_params(raw, "study.yaml")
    assert says in str(caught.value)


def test_a_misspelt_section_that_all_runs_share_is_named() -> None:
    raw = {("modle" if key == "model" else key): value for key, value in SMOKE.items()}
    with pytest.raises(UserError, match=r"^study\.yaml: modle: unknown key; did you mean 'model'\?$"):
        parse_params(raw, "study.yaml")


def test_a_key_that_is_no_text_is_named_where_it_stands() -> None:
    assert problem(("runs.ads", plain_yaml("{model: {ads: {1: 2}}}"))).startswith(
        "study.yaml: runs.ads.model.ads.1: unknown key; remove it"
    )
