"""Signs that a robust accuracy flatters the model, read from measures that are there anyway."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from ssmlab.evaluation.results import Measure
from ssmlab.params import AttackSpec

STRENGTH = ("fgsm", "pgd", "autoattack")


def masking_warnings(measures: Mapping[str, Measure], attacks: Mapping[str, AttackSpec]) -> list[str]:
    """One sentence a sign; none is a proof, and their absence is none either.

    The signs are two of Athalye et al. (2018), section 3.1: one-step attacks that do better than iterative ones, and
    black-box attacks that do better than white-box ones.
    """
    return weaker_wins(measures, attacks) + black_box_wins(measures, attacks)


def weaker_wins(measures: Mapping[str, Measure], attacks: Mapping[str, AttackSpec]) -> list[str]:
    """Attacks that broke more than a stronger kind of attack did, on the images that both saw."""
    found = []
    ranked = sorted(attacks, key=lambda name: STRENGTH.index(attacks[name].kind))
    for weak, strong in combinations(ranked, 2):
        n = min(measures[weak].n, measures[strong].n)
        left_weak, left_strong = (measures[name].flags[:n].count("1") for name in (weak, strong))
        if attacks[weak].kind != attacks[strong].kind and left_weak < left_strong:
            found.append(
                f"{weak} leaves {left_weak} of {n} images right and {strong}, a stronger attack, {left_strong}: "
                "the gradients may mislead it"
            )
    return found


def black_box_wins(measures: Mapping[str, Measure], attacks: Mapping[str, AttackSpec]) -> list[str]:
    """AutoAttacks whose Square, which uses no gradients, broke images that the parts with gradients could not."""
    found = []
    for name in attacks:
        measure = measures[name]
        if measure.parts is not None:
            broken = round((measure.parts["fab-t"] - measure.parts["square"]) * measure.n)
            if broken:
                found.append(
                    f"{name}: Square, which sees no gradients, broke {broken} of {measure.n} images that APGD and FAB "
                    "could not: the gradients may be masked"
                )
    return found
