"""Finds the runs of a study that differ only in their seed, and a common name for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from typing import Any

from ssmlab.core.json_text import canonical_json


def seed_groups(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The runs that differ only in `train.seed`, by their common name; a single run is a group of its own.

    The settings decide, not the names. A second run with the same settings and the same seed begins another group.
    Groups come in the order of their first runs, the runs of a group in the order of their seeds. No group of several
    runs has the name of a run or of another group.

    Args:
        runs: the plain sections `model` and `train` of every run by its name, as `RunParams.plain` gives them.
    """
    groups: list[tuple[str, dict[int, str]]] = []  # settings without the seed, and run names by seed
    for name, settings in runs.items():
        train = dict(settings["train"])
        seed = train.pop("seed")
        rest = canonical_json({**settings, "train": train})
        group = next((group for common, group in groups if common == rest and seed not in group), None)
        if group is None:
            groups.append((rest, {seed: name}))
        else:
            group[seed] = name
    named: dict[str, tuple[str, ...]] = {}
    for _, group in groups:
        members = tuple(group[seed] for seed in sorted(group))
        free = (name for name in candidates(common_name(group)) if name not in runs and name not in named)
        named[members[0] if len(members) == 1 else next(free)] = members
    return named


def common_name(group: Mapping[int, str]) -> str:
    """The common part of names by seed: `ads` for ads-s0 and ads-s10; empty if there is none."""
    stems = {re.sub(rf"(^|[._-])(s|seed)?[._-]?0*{seed}$", "", name) for seed, name in group.items()}
    if len(stems) == 1:
        return stems.pop()
    first, *_, last = sorted(group.values())  # all names between these two have the same common beginning
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return re.sub(r"([._-](s|seed))?[._-]*$", "", "".join(letter for letter, _ in alike))


def candidates(name: str) -> Iterator[str]:
    """Names to try, best first: `ads`, `ads-seeds`, `ads-seeds-2`, ...; `seeds` if there is no common name."""
    if name:
        yield name
    longer = f"{name}-seeds" if name else "seeds"
    yield longer
    yield from (f"{longer}-{number}" for number in count(2))
