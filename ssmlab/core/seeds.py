"""A separate seed for every purpose, all derived from the single number that the user gives."""

from __future__ import annotations

import hashlib


def seed_of(seed: int, purpose: str) -> int:
    """A seed in [0, 2^63) for one purpose ("order", "training attack", "pgd-10 on batch 3") of the user's `seed`.

    Equal arguments give equal seeds in every process and on every machine. Different ones give unrelated seeds, so the
    numbers drawn for one purpose stay the same when another purpose is added or draws more often.

    Never change the hash, its byte order or the text that is hashed: the bits of every training depend on them.
    """
    digest = hashlib.sha256(f"{purpose}: {seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # 63 bits: torch.Generator.manual_seed accepts no more
