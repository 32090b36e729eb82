"""The report's sentences about seeds: how many there are, and what their number leaves uncertain."""

from __future__ import annotations

from ssmlab.analysis.format import level
from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed, plural


def seeds_phrase(summary: Summary) -> str:
    """` in 12 runs`; empty if every setting has one run."""
    return f" in {len(summary.runs)} runs" if summary.several_seeds else ""


def seeds_sentence(summary: Summary) -> str:
    """With how many seeds everything was trained."""
    seeds = {group.seeds for group in summary.groups}
    if not summary.several_seeds:
        used = sorted({seed for each in seeds for seed in each})
        return f"Every run was trained once ({plural('seed', len(used))} {listed(used)})."
    if len(seeds) == 1:
        each = seeds.pop()
        return f"Every setting was trained with {len(each)} seeds ({listed(each)})."
    counts = sorted({len(each) for each in seeds})
    if len(counts) == 1:
        return f"Every setting was trained with {counts[0]} seeds."
    return f"Settings were trained with {counts[0]} to {counts[-1]} {plural('seed', counts[-1])}."


def seed_counts(summary: Summary) -> str:
    """The number of seeds of groups with several seeds: `3`, or `2 or 3` if groups differ."""
    return listed(sorted({len(group.seeds) for group in summary.groups if group.several}), "or")


def seed_limit(summary: Summary) -> str:
    """What the number of seeds leaves uncertain."""
    sure = level(summary.confidence)
    if not summary.several_seeds:
        seeds = sorted({run.train.seed for run in summary.runs})
        return (
            f"Every run was trained once ({plural('seed', len(seeds))} {listed(seeds)}). The {sure} "
            "intervals cover other test images, but not other seeds: a difference of a few points may be due to the "
            "seed."
        )
    text = (
        f"A standard deviation from {seed_counts(summary)} seeds is a rough estimate: with 3 seeds, the true value can "
        f"be from half to six times as large (95%). The {sure} intervals of single runs do not cover other seeds."
    )
    once = [group.name for group in summary.groups if not group.several]
    return f"{text} {listed(once)} {'were' if len(once) > 1 else 'was'} trained once." if once else text
