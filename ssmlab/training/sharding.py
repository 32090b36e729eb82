"""Which images of a batch each rank takes when several ranks train one model, and the random numbers for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor


class BatchShard:
    """The rows of the current batch that rank `rank` of `ranks` takes: up to ceil(batch_size / ranks) images.

    A rank takes the same rows of every batch, so in a short last batch the last ranks have fewer images, or none. A
    rank without images computes the batch's first image with weight 0, because all ranks must make the same steps.

    Attributes:
        first, size: this rank's rows of a full batch: `size` rows from row `first`.
        rows: which rows of the current batch this rank computes.
        images: how many of them count; 0 if this rank has none.
        batch: how many images the current batch has.
    """

    def __init__(self, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.size = -(-batch_size // ranks)
        self.first = rank * self.size
        self.set_batch(batch_size)

    def set_batch(self, batch: int) -> None:
        """The current batch has `batch` images."""
        self.batch = batch
        self.images = min(max(batch - self.first, 0), self.size)
        self.rows = slice(self.first, self.first + self.images) if self.images else slice(0, 1)

    @property
    def weight(self) -> float:
        """This rank's fraction of the batch, in [0, 1]; the weights of all ranks add up to 1."""
        return self.images / self.batch


class LocalBatches:
    """An iterator over this rank's rows of every batch.

    Attributes:
        count: how many batches it has yielded.
    """

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]], shard: BatchShard) -> None:
        self.batches = iter(batches)
        self.shard = shard
        self.count = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        x, y = next(self.batches)
        self.count += 1
        self.shard.set_batch(len(y))
        return x[self.shard.rows], y[self.shard.rows]


class SharedGenerator(torch.Generator):
    """A generator in the same state on every rank, from which `draw_normal` and `draw_uniform` draw for a whole batch.

    So an image gets the same numbers on any rank and with any number of ranks.
    """

    shard: BatchShard | None = None


def draw_normal(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers of `shape` (B, ...), one row per image, on the generator's device."""
    return local_rows(empty_batch(shape, generator, dtype).normal_(generator=generator), generator)


def draw_uniform(
    shape: Sequence[int], low: float, high: float, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Numbers of `shape` (B, ...), one row per image, uniform in [low, high), on the generator's device."""
    return local_rows(empty_batch(shape, generator, dtype).uniform_(low, high, generator=generator), generator)


def empty_batch(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor for the whole batch; `shape` (B, ...) may be that of one rank's rows."""
    shard = generator.shard if isinstance(generator, SharedGenerator) else None
    images = shape[0] if shard is None else shard.batch
    return torch.empty((images, *shape[1:]), dtype=dtype, device=generator.device)


def local_rows(numbers: Tensor, generator: torch.Generator) -> Tensor:
    """This rank's rows (B, ...) of the numbers of the whole batch."""
    shard = generator.shard if isinstance(generator, SharedGenerator) else None
    return numbers if shard is None else numbers[shard.rows]
