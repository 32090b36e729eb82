"""Groups of channels or sequences that a core's cache holds: each group goes through all steps before the next."""

from __future__ import annotations


def cache_groups(count: int, numbers: int, most: int) -> list[slice]:
    """`count` items of `numbers` numbers each, in groups of at most `most` numbers, but of at least one item."""
    together = max(1, most // max(1, numbers))
    return [slice(start, start + together) for start in range(0, count, together)]
