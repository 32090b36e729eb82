"""The tables of mixers, regimes and attacks: no line contradicts the sections that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.params import ATTACKS, MIXERS, REGIMES, AttackSpec, ModelParams, Strict, TrainParams


@pytest.mark.parametrize(("table", "section"), [(MIXERS, ModelParams), (REGIMES, TrainParams)])
def test_a_key_that_is_called_like_a_mixer_or_regime_holds_its_settings(
    table: Mapping[str, Any], section: type[Strict]
) -> None:
    """A mixer called `patch` would otherwise take the key of that name for its section."""
    for name in table.keys() & section.model_fields.keys():
        settings, nothing = get_args(section.model_fields[name].annotation)
        assert issubclass(settings, Strict) and nothing is type(None), name


def test_the_usual_values_of_a_regime_are_a_valid_section() -> None:
    for name in REGIMES.keys() & TrainParams.model_fields.keys():
        settings, _ = get_args(TrainParams.model_fields[name].annotation)
        settings.model_validate(dict(REGIMES[name].usual))
    assert all(not entry.usual for name, entry in REGIMES.items() if name not in TrainParams.model_fields)


def test_an_attack_with_usual_settings_is_built_from_its_name() -> None:
    for kind, entry in ATTACKS.items():
        if entry.usual is not None:
            spec = parse_attack(kind, 0.1)
            assert (spec.kind, type(spec)) == (kind, entry.params)


def test_every_class_of_attack_settings_names_the_kind_of_its_line() -> None:
    for kind, entry in ATTACKS.items():
        assert get_args(entry.params.model_fields["kind"].annotation) == (kind,)


def test_settings_of_an_unknown_kind_of_attack_are_refused_with_the_kinds_that_there_are() -> None:
    with pytest.raises(ValueError, match="'token', 'fgsm'"):
        TypeAdapter(AttackSpec).validate_python({"kind": "nose", "images": "all", "checkpoints": ["best"]})
