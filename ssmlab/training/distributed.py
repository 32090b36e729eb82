"""One training in several processes, as torchrun starts them: who they are, and what they tell each other.

Every process holds the whole data set and draws the same order, crops and random starts; of every batch it goes through
its own share (`ssmlab.training.sharding`). torch's DistributedDataParallel makes the gradients those of the whole
batch.
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
from ssmlab.training.sharding import Share

T = TypeVar("T")


class LostProcess(UserError):
    """Another process of the training has ended before its time."""


@contextmanager
def process_group(wanted: str) -> Iterator[tuple[Group, torch.device]]:
    """The processes that torchrun has started with this one, and the device meant by `wanted` (`resolve_device`).

    On GPUs every process of a machine takes one of its own and they talk through NCCL, on CPUs through gloo. Without
    torchrun the process is alone. One that breaks off does not take its leave: its connections close as it ends, and
    the others see that.

    Raises:
        UserError: the device is not there, or is fewer than the processes of this machine.
        LostProcess: another process has ended.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = resolve_device(wanted)
    if size == 1 or "RANK" not in os.environ:
        yield Group(), device
        return
    if device.type == "cuda":
        device = own_gpu(int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
        torch.cuda.set_device(device)
    with seeing_losses():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        yield Group(int(os.environ["RANK"]), size), device
        dist.destroy_process_group()


def own_gpu(local_rank: int, processes: int) -> torch.device:
    """The GPU of process `local_rank` of so many on this machine; raises UserError if there are more than GPUs."""
    gpus = torch.cuda.device_count()
    if processes > gpus:
        raise UserError(f"{processes} processes, but {gpus} GPU(s); start torchrun with --nproc-per-node {gpus}")
    return torch.device("cuda", local_rank)


@contextmanager
def seeing_losses() -> Iterator[None]:
    """Within this block a failed exchange with another process is a LostProcess."""
    try:
        yield
    except RuntimeError as error:
        # gloo raises what has no type of its own, but its messages begin with the path of its source.
        if isinstance(error, dist.DistError) or "/gloo/" in str(error):
            raise LostProcess("another process of this training has ended (its last line may say why)") from None
        raise


@dataclass(frozen=True)
class Group:
    """The processes that train one model: this is number `rank` of `size`. Number 0 is the one that writes and tells.

    `summed`, `any`, `first`, `gathered` and `joined_rows` are meetings: all must call them in the same order, and no
    call returns before. Alone there is nobody to wait for.
    """

    rank: int = 0
    size: int = 1

    def share(self, batch_size: int) -> Share:
        """This process's rows of batches of `batch_size` images."""
        return Share(batch_size, self.rank, self.size)

    def summed(self, *numbers: float) -> tuple[float, ...]:
        """Every number's sum over the processes."""
        if self.size == 1:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(sums)
        return tuple(sums.tolist())

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return self.summed(float(here))[0] > 0

    def first(self, value: T) -> T:
        """The value of process 0."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def gathered(self, value: T) -> list[T]:
        """The values of all processes, in order."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def joined_rows(self, tensor: Tensor, share: Share) -> Tensor:
        """`tensor` (batch size, ...) with every row as the process has it whose share of a whole batch it is in."""
        if self.size == 1:
            return tensor
        own = torch.zeros_like(tensor)
        own[share.first : share.first + share.size] = tensor[share.first : share.first + share.size]
        dist.all_reduce(own)
        return own

    def replicated(self, model: Classifier, share: Share) -> Trainable:
        """`model`, whose backward passes then give the gradients of the whole batch, of which `share` is at hand."""
        return model if self.size == 1 else Replicated(model, share)


class Trunk(nn.Module):
    """The part of a classifier that is called through DistributedDataParallel, which joins all of its gradients.

    Not the whole: YOPO asks for the gradient between stem and trunk.
    """

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, h: Tensor) -> Tensor:
        """Logits (B, classes) of embedded tokens h (B, L, D)."""
        return self.model.trunk(h)


class Replicated(DistributedDataParallel):
    """A classifier of which every process has a copy: what a regime uses of `Classifier`, under the same names.

    After `backward` a parameter's `.grad` is the mean over the batch's images, not over the processes: each counts with
    the weight of its share, times its own mean. All parameters must take part in every backward pass.
    """

    def __init__(self, model: Classifier, share: Share) -> None:
        super().__init__(Trunk(model))
        self.broadcast_buffers = False  # they are constants; and TRADES goes forward twice before it goes back
        self.register_comm_hook(share, lambda share, bucket: weighted_sum(share, bucket.buffer()))

    @property
    def plain(self) -> Classifier:
        """This process's copy: its gradients are its own."""
        return self.module.model  # type: ignore[no-any-return]

    @property
    def layers(self) -> nn.ModuleList:
        """Those of the classifier."""
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
        """The frozen copy, which is this process's own: an attack needs no other's."""
        return self.plain.freeze()


Trainable = Classifier | Replicated


def weighted_sum(share: Share, gradients: Tensor) -> torch.futures.Future[Tensor]:
    """Of some gradients (n,), which are overwritten, the sum over the processes, each with the weight of its share.

    Where one backward pass adds to the gradients of another (YOPO) these are the same in all processes, and the weights
    add up to 1: they stay as they are.
    """
    sent = dist.all_reduce(gradients.mul_(share.weight), async_op=True)
    assert sent is not None
    return sent.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]
