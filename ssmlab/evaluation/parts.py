"""The parts of an attack, in which order they run, and what they cost, by its specification."""

from __future__ import annotations

from typing import Any

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AttackSpec


def attack_parts(spec: AttackSpec, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:
    """The attacks of a specification, by the names in `phases`; from torchattacks if it has them."""
    return attack_of(spec).parts(victim, ball, classes, seed)


def phases(spec: AttackSpec) -> tuple[tuple[str, ...], ...]:
    """The parts of an attack in the order in which they run, grouped into phases."""
    return attack_of(spec).phases


def screens_after(spec: AttackSpec, phase: int) -> bool:
    """Whether only the survivors with the lowest margin continue after this phase."""
    return attack_of(spec).screens_after(phase)


def phases_before_screening(spec: AttackSpec) -> int:
    """The number of first phases of an attack that see every remaining image."""
    count = len(phases(spec))
    return next((phase + 1 for phase in range(count) if screens_after(spec, phase)), count)


def passes(spec: AttackSpec, classes: int, phase: int, positions: int = 1) -> float:
    """The approximate cost of a phase for an image that it cannot break, in forward passes.

    Args:
        positions: how many there are in an image for an attack that goes by position.
    """
    return attack_of(spec).passes(classes, phase, positions)
