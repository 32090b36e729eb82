"""How the report speaks of seeds: how many stand behind the numbers, and what they leave open."""

from __future__ import annotations

from ssmlab.analysis.format import level, plural
from ssmlab.analysis.summary import Summary
from ssmlab.core.text import listed


def seeds_phrase(summary: Summary) -> str:
    """` in 12 runs`; nothing where every setting has one run."""
    return f" in {len(summary.runs)} runs" if summary.several_seeds else ""


def seeds_sentence(summary: Summary) -> str:
    """How many seeds stand behind the numbers."""
    seeds = {group.seeds for group in summary.groups}
    if not summary.several_seeds:
        used = sorted({seed for each in seeds for seed in each})
        return f"Every run was trained once ({plural('seed', len(used))} {listed(used)})."
    if len(seeds) == 1:
        each = seeds.pop()
        return f"Every setting was trained with {len(each)} seeds ({listed(each)})."
    counts = sorted({len(group.seeds) for group in summary.groups})
    return f"Settings were trained with {counts[0]} to {counts[-1]} {plural('seed', counts[-1])}."


def seed_counts(summary: Summary) -> str:
    """`3`, or `2 or 3` where groups differ: how many seeds the groups of several have."""
    return " or ".join(map(str, sorted({len(group.seeds) for group in summary.groups if group.several})))


def seed_limit(summary: Summary) -> str:
    """What the seeds leave open."""
    sure = level(summary.confidence)
    if not summary.several_seeds:
        seeds = sorted({run.train.seed for run in summary.runs})
        return (
            f"Every run was trained once ({plural('seed', len(seeds))} {listed(seeds)}). The {sure} "
            "intervals say what another draw of test images could change, not what another seed could: differences of "
            "a few points may be luck of the training."
        )
    text = (
        f"A standard deviation of {seed_counts(summary)} seeds is itself a rough estimate: of 3 seeds the true one may "
        f"be half or six times as large (95%). The {sure} intervals of single runs say nothing of seeds."
    )
    once = [group.name for group in summary.groups if not group.several]
    return f"{text} {listed(once)} {'were' if len(once) > 1 else 'was'} trained once." if once else text
