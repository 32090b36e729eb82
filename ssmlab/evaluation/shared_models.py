"""Finds models that are listed under several names, so that they are attacked once.

If the best epoch of a training is its last one, both checkpoints of the run are the same model.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ssmlab.params import AttackSpec


def attacked_names(
    models: Mapping[str, nn.Module], plan: Mapping[str, Mapping[str, AttackSpec]]
) -> tuple[dict[str, str], dict[str, dict[str, AttackSpec]]]:
    """Choose one name for each model.

    Args:
        models: the models by name; one object under two names is one model.
        plan: for each name, its attacks.

    Returns:
        For each name, the name under which its model is attacked; and for each of these, the attacks of all its names.
        Two names of one model stay separate if one attack name means different attacks for them.
    """
    chosen: dict[str, str] = {}
    together: dict[str, dict[str, AttackSpec]] = {}
    for name, model in models.items():
        attacks = dict(plan[name])
        same = (first for first in together if models[first] is model and agree(together[first], attacks))
        chosen[name] = next(same, name)
        together.setdefault(chosen[name], {}).update(attacks)
    return chosen, together


def agree(one: Mapping[str, AttackSpec], other: Mapping[str, AttackSpec]) -> bool:
    """Whether all attacks that have the same name in both are equal."""
    return all(other.get(name, spec) == spec for name, spec in one.items())
