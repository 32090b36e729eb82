"""Fingerprints: equal settings have equal ones, and settings stay as they were read."""

from __future__ import annotations

import hashlib

import pytest

from ssmlab.params import ModelParams, Params
from ssmlab.project.params_file import parse_params
from tests.params.smoke import SMOKE, changed, problem


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
