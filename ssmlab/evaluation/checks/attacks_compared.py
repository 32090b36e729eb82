"""Checks whether the attacks of an evaluation contradict each other. It needs no further attacks.

It looks for two signs of masked gradients (Athalye et al. 2018, section 3.1): weaker attacks that break more than
stronger attacks, and black-box attacks that break more than white-box attacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from ssmlab.core.text import listed
from ssmlab.evaluation.checks.finding import images_finding
from ssmlab.evaluation.results import Check, Measure
from ssmlab.params import ATTACKS, AttackSpec, PgdParams

LEAST_SHARE = 0.01  # share of the images; any attack may break a single image by chance


def compared_checks(measures: Mapping[str, Measure], attacks: Mapping[str, AttackSpec], eps: float) -> list[Check]:
    """One check for every pair of comparable attacks, and one for every AutoAttack and Square."""
    return weaker_wins(measures, attacks, eps) + black_box_wins(measures, attacks)


def weaker_wins(measures: Mapping[str, Measure], attacks: Mapping[str, AttackSpec], eps: float) -> list[Check]:
    """Whether an attack broke more than an attack of a stronger kind, on the images that both saw."""
    found = []
    able = [name for name in attacks if ATTACKS[attacks[name].kind].ranked and reaches(attacks[name], eps)]
    ranked = sorted(able, key=lambda name: list(ATTACKS).index(attacks[name].kind))
    for weak, strong in combinations(ranked, 2):
        if attacks[weak].kind == attacks[strong].kind or (on_margin(attacks[weak]) and attacks[strong].kind == "apgd"):
            continue  # for many normal models the margin is the better loss, so APGD on another loss may break less
        n = min(measures[weak].n, measures[strong].n)
        left_weak, left_strong = (measures[name].flags[:n].count("1") for name in (weak, strong))
        sentence = (
            f"{weak} leaves {left_weak} of {n} images right, but the stronger attack {strong} leaves {left_strong}: "
            "the gradients may mislead it"
        )
        found.append(images_finding(f"{weak} beats {strong}", left_strong - left_weak, n, LEAST_SHARE, sentence))
    return found


def reaches(spec: AttackSpec, eps: float) -> bool:
    """Whether an attack can reach the surface of the ball from its centre; PGD with few short steps cannot."""
    return not isinstance(spec, PgdParams) or spec.steps * float(spec.alpha) >= eps


def on_margin(spec: AttackSpec) -> bool:
    return isinstance(spec, PgdParams) and spec.loss == "margin"


def black_box_wins(measures: Mapping[str, Measure], attacks: Mapping[str, AttackSpec]) -> list[Check]:
    """Whether Square, which uses no gradients, broke images that the attacks with gradients did not break."""
    found = []
    gradients = [name for name, spec in attacks.items() if ATTACKS[spec.kind].gradients]
    for name, spec in attacks.items():
        measure = measures[name]
        if spec.kind == "square" and gradients:
            found.append(lone_square(name, measures, gradients))
        if measure.parts is not None:
            broken = round((measure.parts["fab-t"] - measure.parts["square"]) * measure.n)
            sentence = (
                f"{name}: Square, which uses no gradients, broke {broken} of {measure.n} images that APGD and FAB "
                "did not break: the gradients may be masked"
            )
            found.append(images_finding(f"{name}: Square beats gradients", broken, measure.n, LEAST_SHARE, sentence))
    return found


def lone_square(name: str, measures: Mapping[str, Measure], gradients: list[str]) -> Check:
    """Whether Square, as a separate attack, broke images that no attack with gradients broke."""
    flags = zip(measures[name].flags, *(measures[other].flags for other in gradients), strict=False)
    broken = [square == "0" and "0" not in others for square, *others in flags]
    sentence = (
        f"{name}, which uses no gradients, broke {sum(broken)} of {len(broken)} images that {listed(gradients)} did "
        "not break: the gradients may be masked"
    )
    return images_finding(f"{name} beats gradients", sum(broken), len(broken), LEAST_SHARE, sentence)
