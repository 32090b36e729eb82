"""One training in several processes, as torchrun starts them: their ranks, and what they exchange.

Every rank has the whole data set and draws the same order, crops and random starts. But it computes only its own rows
of every batch (`ssmlab.training.sharding`). torch's DistributedDataParallel sums the gradients over the ranks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssmlab.core.errors import UserError
from ssmlab.nets.classifier import Classifier
from ssmlab.nets.device import resolve_device
from ssmlab.training.events import BatchResult
from ssmlab.training.sharding import BatchShard

T = TypeVar("T")


class LostRank(UserError):
    """Another process of the training has ended before the training did."""


@contextmanager
def process_group(wanted: str) -> Iterator[tuple[Group, torch.device]]:
    """The group of processes that torchrun started, this one included, and the device that `wanted` means.

    On GPUs every process takes one GPU of its machine and they communicate through NCCL, on CPUs through gloo. Without
    torchrun the group has one process. After an error the group is not destroyed, because that would wait for the
    other processes: the connections close when this process ends, and the others notice.

    Raises:
        UserError: there is no such device (`resolve_device`), or there are more processes than GPUs on this machine.
        LostRank: another process has ended.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = resolve_device(wanted)
    if size == 1 or "RANK" not in os.environ:
        yield Group(), device
        return
    if device.type == "cuda":
        device = gpu_of_rank(int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
        torch.cuda.set_device(device)
    with detecting_lost_ranks():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        yield Group(int(os.environ["RANK"]), size), device
        dist.destroy_process_group()


def gpu_of_rank(local_rank: int, processes: int) -> torch.device:
    """The GPU of process `local_rank` of `processes` on this machine; raises UserError if there are fewer GPUs."""
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise UserError(f"{processes} processes, but {gpus} GPU(s); start torchrun with --nproc-per-node {gpus}")
    return torch.device("cuda", local_rank)


@contextmanager
def detecting_lost_ranks() -> Iterator[None]:
    """Inside the block, a failed exchange with another process raises LostRank."""
    try:
        yield
    except RuntimeError as error:
        # gloo's errors have no type of their own, but their messages begin with the path of its source.
        if isinstance(error, dist.DistError) or "/gloo/" in str(error):
            raise LostRank("another process of this training has ended; see its last line") from None
        raise


@dataclass(frozen=True)
class Group:
    """The processes that train one model: this one is rank `rank` of `size`. Rank 0 writes the files and reports.

    The methods from `sum` to `reduced` are collective: all ranks must call them in the same order, and a call returns
    only when all ranks have made it. In a group of one process they return at once.
    """

    rank: int = 0
    size: int = 1

    def sum(self, *numbers: float) -> tuple[float, ...]:
        """Every number's sum over the ranks."""
        if self.size == 1:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(sums)
        return tuple(sums.tolist())

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any rank."""
        return self.sum(float(flag))[0] > 0

    def broadcast(self, value: T) -> T:
        """The value of rank 0."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def all_gather(self, value: T) -> list[T]:
        """The values of all ranks, in order."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def gather_rows(self, tensor: Tensor, shard: BatchShard) -> Tensor:
        """`tensor` (batch size, ...) with every row taken from the rank that computes it, as `shard` says."""
        if self.size == 1:
            return tensor
        rows = slice(shard.first, shard.first + shard.size)
        local = torch.zeros_like(tensor)
        local[rows] = tensor[rows]
        dist.all_reduce(local)
        return local

    def reduced(self, local: BatchResult, shard: BatchShard) -> BatchResult:
        """The result on the whole batch, from every rank's result on its rows."""
        if self.size == 1:
            return local
        counts = (local.loss * shard.images, local.right_clean or 0, local.right_robust or 0)
        loss, clean, robust = self.sum(*(counts if shard.images else (0.0, 0, 0)))
        return BatchResult(
            loss=loss / shard.batch,
            images=shard.batch,
            right_clean=None if local.right_clean is None else round(clean),
            right_robust=None if local.right_robust is None else round(robust),
        )

    def shard(self, batch_size: int) -> BatchShard:
        """This rank's rows of batches of `batch_size` images."""
        return BatchShard(batch_size, self.rank, self.size)

    def replicated(self, model: Classifier, shard: BatchShard) -> Trainable:
        """`model`, wrapped so that backward passes on this rank's `shard` give the gradients of the whole batch."""
        return model if self.size == 1 else Replicated(model, shard)


class Trunk(nn.Module):
    """The module that DistributedDataParallel wraps: it sums the gradients of all parameters of `model`.

    Only the trunk runs in its forward pass, because YOPO needs the gradient between stem and trunk.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, h: Tensor) -> Tensor:
        """Logits (B, classes) of embedded tokens h (B, L, D)."""
        return self.model.trunk(h)


class Replicated(DistributedDataParallel):
    """A classifier with a copy on every rank; it offers regimes the methods of `Classifier` that they use.

    After `backward`, `.grad` is the mean over the images of the whole batch: each rank's mean is weighted by the size
    of its shard. All parameters must take part in every backward pass.
    """

    def __init__(self, model: Classifier, shard: BatchShard) -> None:
        super().__init__(Trunk(model))
        self.broadcast_buffers = False  # they are constants, and TRADES has two forward passes for one backward pass
        self.register_comm_hook(shard, lambda shard, bucket: weighted_sum(shard, bucket.buffer()))

    @property
    def plain(self) -> Classifier:
        """This rank's copy, whose gradients are not summed over the ranks."""
        return self.module.model  # type: ignore[no-any-return]

    @property
    def layers(self) -> nn.ModuleList:
        return self.plain.layers

    def stem(self, x: Tensor) -> Tensor:
        """Images x (B, C, H, W) as embedded tokens (B, L, D)."""
        return self.plain.stem(x)

    def trunk(self, h: Tensor) -> Tensor:
        """Logits (B, classes) of embedded tokens h (B, L, D)."""
        return super().forward(h)  # type: ignore[no-any-return, no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of images x (B, C, H, W)."""
        return self.trunk(self.stem(x))

    def freeze(self) -> nn.Module:
        """A frozen form of this rank's copy: an attack on this rank's images needs no other rank."""
        return self.plain.freeze()


Trainable = Classifier | Replicated


def weighted_sum(shard: BatchShard, gradients: Tensor) -> torch.futures.Future[Tensor]:
    """The sum over ranks of gradients (n,) times the weight of the rank's shard; overwrites `gradients`.

    YOPO adds up the gradients of several backward passes. The part from earlier passes is equal on all ranks, and the
    weights add up to 1, so summing it again does not change it.
    """
    sent = dist.all_reduce(gradients.mul_(shard.weight), async_op=True)
    assert sent is not None
    return sent.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]
