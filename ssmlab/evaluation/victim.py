"""The model under attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_LOSS = 1e12  # what is not finite is written as this, since JSON has no infinity


def no_tick() -> None:
    """The `tick` of callers that do not follow the progress."""


class Victim(nn.Module):
    """A model as torchattacks sees it: in eval mode, with a parameter that says where it is.

    It also keeps the model's habits away from the attack: the model gets a copy of the images, because some models
    normalise in place; images in the dtype that it computes in; and its logits become float32. Logits without a
    gradient get one that is zero, which the checks for masked gradients then report.

    Args:
        model: from images (B, C, H, W) in [0, 1] to logits (B, classes), on `device`; it is put in eval mode.
        tick: called before every forward pass, so that somebody can follow a long attack.
        dtype: of the images that the model gets.

    Attributes:
        queries: how many images it has been asked about.
        losses: while `labels` (B,) are set, the summed cross entropy of every forward pass of B images.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        tick: Callable[[], None] = no_tick,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros((), device=device), requires_grad=False)
        self.model = model
        self.tick = tick
        self.dtype = dtype
        self.queries = 0
        self.labels: Tensor | None = None
        self.losses: list[float] = []
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes), float32, of images (B, C, H, W)."""
        self.tick()
        self.queries += len(x)
        logits: Tensor = self.model(x.to(self.dtype, copy=True)).float()
        if x.requires_grad and torch.is_grad_enabled():
            # A model that detaches its images then has a gradient of zero, which a check reports, and not none at all,
            # which autograd refuses with an error of its own.
            logits = logits + 0.0 * x.flatten(1).sum(dim=1, keepdim=True)  # (B, classes)
        if self.labels is not None and len(self.labels) == len(x):
            loss = F.cross_entropy(logits.detach(), self.labels, reduction="sum")
            self.losses.append(float(loss.nan_to_num(nan=LARGEST_LOSS, posinf=LARGEST_LOSS)))
        return logits

    @torch.no_grad()
    def is_right(self, x: Tensor, y: Tensor) -> Tensor:
        """Whether each image of x (B, C, H, W) has label y (B,): bool (B,). Logits that are not finite are wrong."""
        return is_right(self(x), y)


def is_right(logits: Tensor, y: Tensor) -> Tensor:
    """Whether logits (B, classes) say y (B,): bool (B,). Logits that are not finite are wrong."""
    return (logits.argmax(dim=1) == y) & logits.isfinite().all(dim=1)  # (B,)
