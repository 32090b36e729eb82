"""Numbers of many runs in one sentence: a group of seeds is one range."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed


def ranges_by_group(summary: Summary, values: Mapping[str, float], spelling: str) -> str:
    """The values of runs as text: `ssm x0.16 to x0.58 and ads x0.60`.

    Args:
        values: a number by run name; runs without one are missing.
        spelling: how a number is written, as `str.format` takes it: `x{:.2f}`.
    """
    texts = []
    for group in summary.groups:
        known = [values[run] for run in group.runs if run in values]
        ends = dict.fromkeys(spelling.format(end) for end in (min(known), max(known))) if known else {}
        if ends:
            texts.append(f"{group.name} {' to '.join(ends)}")
    return listed(texts)


def names_by_group(summary: Summary, runs: Collection[str]) -> str:
    """The names of runs as text; a group with all its runs in the list is named once. Empty without runs."""
    names = []
    for group in summary.groups:
        found = [run for run in group.runs if run in runs]
        names += [group.name] if len(found) == len(group.runs) else found
    return listed(names) if names else ""
