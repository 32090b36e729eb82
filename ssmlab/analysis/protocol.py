"""Whether results may stand side by side: only when they were measured in the same way, on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ssmlab.core.errors import ProtocolMismatch
from ssmlab.core.text import listed
from ssmlab.evaluation.results import AttackResults
from ssmlab.params import ATTACK_KINDS, AttackSpec


def dotted_leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested mapping as dotted keys: {"a": {"b": 1}} gives ("a.b", 1). Lists are leaves."""
    for key, below in value.items():
        if isinstance(below, Mapping):
            yield from dotted_leaves(below, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", below


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The dotted keys at which two nested mappings differ, with both values; None where a key is missing."""
    left, right = dict(dotted_leaves(a)), dict(dotted_leaves(b))
    return [(key, left.get(key), right.get(key)) for key in {**left, **right} if left.get(key) != right.get(key)]


def spell_difference(a: AttackResults, b: AttackResults) -> str:
    """What differs between the protocols of two results: at most three keys, each with both values."""
    found = differences(a.protocol.plain(), b.protocol.plain())
    parts = [f"{key} {written(left)} against {written(right)}" for key, left, right in found[:3]]
    if len(found) > 3:
        parts.append(f"{len(found) - 3} more")
    return listed(parts) if parts else "the protocol's fingerprint"


def written(value: Any) -> str:
    """A protocol's value, short enough for one line."""
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."


def check_one_protocol(results: Sequence[AttackResults]) -> None:
    """Within a study all runs are measured alike.

    Raises:
        ProtocolMismatch: they are not; the message names the runs, what differs, and the command that solves it.
    """
    first = results[0]
    others = [result for result in results if result.protocol_fingerprint != first.protocol_fingerprint]
    if others:
        names = listed(result.run for result in others)
        raise ProtocolMismatch(
            f"study {first.study}: {names} and {first.run} were attacked under different protocols "
            f"({others[0].run} against {first.run}: {spell_difference(others[0], first)}); run `ssmlab repro`"
        )


def by_strength(attacks: Mapping[str, AttackSpec]) -> list[str]:
    """Names of attacks from the weakest kind to the strongest, those of one kind by their steps."""
    kind = {name: ATTACK_KINDS.index(spec.kind) for name, spec in attacks.items()}
    return sorted(attacks, key=lambda name: (kind[name], getattr(attacks[name], "steps", 0), name))
