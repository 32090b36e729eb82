"""One seed for every purpose, all of them from the one number that the user gives."""

from __future__ import annotations

import hashlib


def seed_of(seed: int, purpose: str) -> int:
    """A seed in [0, 2^63) for one purpose ("order", "training attack", "pgd-10 on batch 3") of the user's `seed`.

    Equal arguments give equal seeds in every process and on every machine. Different ones give seeds that have nothing
    to do with one another, so that the numbers drawn for one purpose do not change when another is added or drawn more
    often.

    The hash, its byte order and the text that is hashed must stay as they are: every training's bits depend on them.
    """
    digest = hashlib.sha256(f"{purpose}: {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # 63 bits: torch.Generator.manual_seed takes no more
