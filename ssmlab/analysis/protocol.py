"""Checks whether results may be compared: they must be measured in the same way, on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssmlab.core.errors import ProtocolMismatch
from ssmlab.core.plain_values import dotted_leaves
from ssmlab.core.text import listed
from ssmlab.evaluation.results import AttackResults
from ssmlab.params import ATTACKS, AttackSpec, PgdParams


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The dotted keys whose values differ between two nested mappings, with both values; None for a missing key."""
    left, right = dict(dotted_leaves(a)), dict(dotted_leaves(b))
    return [(key, left.get(key), right.get(key)) for key in {**left, **right} if left.get(key) != right.get(key)]


def spell_difference(a: AttackResults, b: AttackResults) -> str:
    """How the protocols of two results differ, as text: at most three keys, each with both values."""
    found = differences(a.protocol.plain(), b.protocol.plain())
    parts = [f"{key} {written(left)} against {written(right)}" for key, left, right in found[:3]]
    if len(found) > 3:
        parts.append(f"{len(found) - 3} more")
    return listed(parts) if parts else "the protocol's fingerprint"


def written(value: Any) -> str:
    """A value of a protocol, shortened to fit one line."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."


def check_one_protocol(results: Sequence[AttackResults]) -> None:
    """Check that all runs of a study were attacked under the same protocol.

    Raises:
        ProtocolMismatch: they were not; the message names the runs, the difference, and the command that solves it.
    """
    first = results[0]
    others = [result for result in results if result.protocol_fingerprint != first.protocol_fingerprint]
    if others:
        names = listed(result.run for result in others)
        raise ProtocolMismatch(
            f"study {first.study}: {names} and {first.run} were attacked under different protocols "
            f"({others[0].run} against {first.run}: {spell_difference(others[0], first)}); run `ssmlab repro`"
        )


def longest_pgd(attacks: Mapping[str, AttackSpec]) -> str:
    """The PGD with the most steps (of several, the first by name); empty if there is none."""
    steps = {name: spec.steps for name, spec in sorted(attacks.items()) if isinstance(spec, PgdParams)}
    return max(steps, key=lambda name: steps[name], default="")


def by_strength(attacks: Mapping[str, AttackSpec]) -> list[str]:
    """Names of attacks from the weakest kind to the strongest; attacks of one kind are sorted by their steps."""
    kind = {name: list(ATTACKS).index(spec.kind) for name, spec in attacks.items()}
    return sorted(attacks, key=lambda name: (kind[name], getattr(attacks[name], "steps", 0), name))
