"""Clean and robust accuracy of a model on a split, while it trains."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from ssmlab.data.batches import batches
from ssmlab.data.dataset import Split
from ssmlab.training.adversary import pgd_steps
from ssmlab.training.attack import Attack
from ssmlab.training.distributed import Group
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.generators import named_generator
from ssmlab.training.sharding import LocalBatches, SharedGenerator


def judge_split(
    frozen: nn.Module, split: Split, attack: Attack, batch_size: int, generator: SharedGenerator, group: Group
) -> Iterator[BatchResult]:
    """Evaluate the frozen model on every image of `split`, clean and attacked.

    Args:
        generator: draws the attack's random starts; seed it again for every call, so that epochs are compared under the
            same noise. Its shard says which rows this rank takes.

    Yields:
        the result on every batch, over all ranks; the loss is the cross entropy on the attacked images.
    """
    shard = group.shard(batch_size)
    generator.shard = shard
    for x, y in LocalBatches(batches(split, batch_size), shard):
        x_adv = pgd_steps(frozen, x, y, attack, generator)
        with torch.no_grad():
            clean, attacked = frozen(x), frozen(x_adv)  # (B, classes) each
            loss = F.cross_entropy(attacked, y).item()
            local = BatchResult(loss, len(y), count_right(clean, y), count_right(attacked, y))
        yield group.reduced(local, shard)


def training_sample(train: Split, images: int, seed: int) -> Split:
    """A random sample of `images` training images (all if there are fewer); the same for equal `seed`."""
    drawn = torch.randperm(len(train), generator=named_generator(seed, "training sample"))[:images]  # (images,)
    rows = drawn.sort().values.to(train.labels.device)
    return Split(train.images[rows], train.labels[rows], train.indices[rows])
