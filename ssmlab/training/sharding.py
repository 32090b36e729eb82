"""Which images of every batch are a process's own where several train one model, and the random numbers for them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Share:
    """The rows of the batch at hand that process `rank` of `processes` goes through: ceil(batch_size / processes).

    These are the same rows in every batch, so that a short one leaves the last processes fewer, or none. A process
    without an image of its own goes through the batch's first, and weighs nothing: so all make the same steps.

    Attributes:
        rows: which of the batch this process goes through.
        images: how many of them are its own.
        batch: how many images the batch has.
    """

    def __init__(self, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        """The share of a whole batch."""
        self.size = -(-batch_size // processes)
        self.first = rank * self.size
        self.take(batch_size)

    def take(self, batch: int) -> None:
        """Turn to a batch of `batch` images."""
        self.batch = batch
        self.images = min(max(batch - self.first, 0), self.size)
        self.rows = slice(self.first, self.first + self.images) if self.images else slice(0, 1)

    @property
    def weight(self) -> float:
        """The part of the batch that is this process's own, in [0, 1]; over all processes they add up to 1."""
        return self.images / self.batch


class SharedGenerator(torch.Generator):
    """A generator that every process holds in the same state: `normal` and `uniform` draw for the whole batch from it.

    So the numbers of an image are the same whichever process has it, and however many there are.
    """

    share: Share | None = None


def normal(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers of `shape` (B, ...), a row an image, on the generator's device."""
    return own_rows(empty_batch(shape, generator, dtype).normal_(generator=generator), generator)


def uniform(
    shape: Sequence[int], low: float, high: float, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Numbers of `shape` (B, ...), a row an image, uniform in [low, high), on the generator's device."""
    return own_rows(empty_batch(shape, generator, dtype).uniform_(low, high, generator=generator), generator)


def empty_batch(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Room for the numbers of all images of which `shape` (B, ...) may be a share."""
    share = generator.share if isinstance(generator, SharedGenerator) else None
    images = shape[0] if share is None else share.batch
    return torch.empty((images, *shape[1:]), dtype=dtype, device=generator.device)


def own_rows(numbers: Tensor, generator: torch.Generator) -> Tensor:
    """Of the numbers of all images (images, ...) those of the images at hand (B, ...)."""
    share = generator.share if isinstance(generator, SharedGenerator) else None
    return numbers if share is None else numbers[share.rows]
