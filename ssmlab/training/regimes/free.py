"""FreeAT (Shafahi et al. 2019, Algorithm 1): one backward pass gives the weights' gradient and the adversary's.

Every batch is replayed m times; delta moves between the replays and is carried over to the next batch's images. So m
replays cost what m steps of standard training cost, and the epochs are divided by m.

Where we differ: the published code takes the gradient to delta through the cut to [0, 1], so that delta stands still
where it would leave the box; we take it at the cut image itself. eps and alpha are those of `adversary`; alpha = eps is
Algorithm 1. The last, smaller batch of a pass uses and moves the first rows of delta.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ssmlab.params import AdversaryParams
from ssmlab.training.adversary import Loss, direction, project, shrink
from ssmlab.training.distributed import Trainable
from ssmlab.training.events import Batch, correct
from ssmlab.training.optimizer import descend
from ssmlab.training.sharding import Share


class CarriedDelta:
    """The perturbation that FreeAT carries from batch to batch: `value` (batch size, C, H, W), zero to begin with.

    It is that of the whole batch, of which a process knows only its own rows, those of `share`.
    """

    def __init__(
        self,
        batch_size: int,
        image_shape: tuple[int, int, int],
        device: torch.device | str = "cpu",
        share: Share | None = None,
    ):
        self.value = torch.zeros(batch_size, *image_shape, device=device)
        self.share = share or Share(batch_size)

    def of(self, x: Tensor) -> Tensor:
        """The rows, to be written to, of the images x (B, C, H, W) at hand."""
        return self.value[self.share.rows][: len(x)]

    def state_dict(self) -> dict[str, Tensor]:
        """All there is to save."""
        return {"value": self.value}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state."""
        self.value.copy_(state["value"])


def free(
    model: Trainable,
    batches: Iterable[tuple[Tensor, Tensor]],
    optimizer: AdamW,
    schedule: LambdaLR,
    adversaries: Iterable[AdversaryParams],
    delta: CarriedDelta,
    replays: int,
    loss: Loss = F.cross_entropy,
) -> Iterator[Batch]:
    """As `pgd_at`, with an event and an adversary for every one of the `replays` of a batch; moves `delta`."""
    model.train()
    replayed = (batch for batch in batches for _ in range(replays))
    for (x, y), adversary in zip(replayed, adversaries, strict=False):  # adversaries never end
        carried = delta.of(x)
        x_adv = project(x + carried, x, float(adversary.eps), adversary.norm).requires_grad_()
        logits = model(x_adv)  # (B, classes)
        total = loss(logits, y)
        descend(optimizer, schedule, total)
        assert x_adv.grad is not None
        moved = carried + float(adversary.alpha) * direction(x_adv.grad, adversary.norm)
        carried.copy_(shrink(moved, float(adversary.eps), adversary.norm))
        yield Batch(loss=total.item(), images=len(y), clean=None, robust=correct(logits, y))
