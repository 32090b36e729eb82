"""Random generators, one for every purpose of a training: draws for one purpose never change those for another."""

from __future__ import annotations

import torch

from ssmlab.core.seeds import seed_of
from ssmlab.training.sharding import BatchShard, SharedGenerator


def training_generators(seed: int, device: torch.device, shard: BatchShard) -> dict[str, torch.Generator]:
    """Every generator that continues from one epoch to the next, by its purpose."""
    return {
        "order": named_generator(seed, "order"),
        "augmentation": named_generator(seed, "augmentation"),
        "starts": shared_generator(seed, "training attack", device, shard),
        "dropout": dropout_generator(device),
    }


def named_generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator for one purpose; equal arguments give equal numbers."""
    return torch.Generator(device).manual_seed(seed_of(seed, purpose))


def shared_generator(seed: int, purpose: str, device: torch.device, shard: BatchShard) -> SharedGenerator:
    """As `named_generator`, for numbers that belong to the images of a batch, of which this rank takes `shard`."""
    generator = SharedGenerator(device)
    generator.shard = shard
    generator.manual_seed(seed_of(seed, purpose))
    return generator


def dropout_generator(device: torch.device) -> torch.Generator:
    """Torch's global generator of `device`, which dropout uses."""
    if device.type == "cuda":
        return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    return torch.default_generator
