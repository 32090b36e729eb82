"""How good a model is on a split, clean and attacked."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ssmlab.data.batches import batches
from ssmlab.data.dataset import Split
from ssmlab.training.adversary import pgd
from ssmlab.training.attack import Attack
from ssmlab.training.distributed import Group
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.sharding import LocalBatches, SharedGenerator


def judge(
    frozen: nn.Module, split: Split, attack: Attack, batch_size: int, generator: SharedGenerator, group: Group
) -> Iterator[BatchResult]:
    """Show the frozen model every image of `split`, clean and attacked.

    Args:
        generator: draws the attack's random starts; seed it anew for every call, so that epochs are compared under the
            same noise. Its shard says which rows this rank takes.

    Yields:
        the result on every batch, all ranks together.
    """
    shard = group.shard(batch_size)
    generator.shard = shard
    for x, y in LocalBatches(batches(split, batch_size), shard):
        x_adv = pgd(frozen, x, y, attack, generator)
        with torch.no_grad():
            local = BatchResult(0.0, len(y), count_right(frozen(x), y), count_right(frozen(x_adv), y))
        yield group.reduced(local, shard)
