"""Wraps the model under attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST_LOSS = 1e12  # replaces losses that are not finite, because JSON has no infinity


def no_tick() -> None:
    """A `tick` that does nothing, for callers that do not report progress."""


class Victim(nn.Module):
    """The model in the form that torchattacks needs: in eval mode, with a parameter that shows its device.

    The model gets a copy of the images, because some models normalise in place, and it gets them in its own dtype. Its
    logits are converted to float32. If logits have no gradient, they get a zero gradient, which the checks for masked
    gradients then report.

    Args:
        model: from images (B, C, H, W) in [0, 1] to logits (B, classes), on `device`; it is set to eval mode.
        tick: a function that is called before every forward pass, to report progress.
        dtype: the dtype of images that the model expects.

    Attributes:
        queries: number of images that the model has classified.
        losses: the summed cross entropy of every forward pass of B images, recorded while `labels` (B,) is set.
        rights: the number of correct images in the same forward passes.
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
        self.rights: list[int] = []
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes), float32, for images (B, C, H, W)."""
        self.tick()
        self.queries += len(x)
        logits: Tensor = self.model(x.to(self.dtype, copy=True)).float()
        if x.requires_grad and torch.is_grad_enabled():
            # Then a model that detaches its images has a zero gradient, which a check reports. Without this term,
            # autograd would raise an error of its own.
            logits = logits + 0.0 * x.flatten(1).sum(dim=1, keepdim=True)  # (B, classes)
        if self.labels is not None and len(self.labels) == len(x):
            loss = F.cross_entropy(logits.detach(), self.labels, reduction="sum")
            self.losses.append(float(loss.nan_to_num(nan=LARGEST_LOSS, posinf=LARGEST_LOSS)))
            self.rights.append(int(is_right(logits.detach(), self.labels).sum()))
        return logits

    @torch.no_grad()
    def is_right(self, x: Tensor, y: Tensor) -> Tensor:
        """Whether each image x (B, C, H, W) is classified as y (B,): bool (B,). Non-finite logits are wrong."""
        return is_right(self(x), y)


def is_right(logits: Tensor, y: Tensor) -> Tensor:
    """Whether the largest logit of (B, classes) is y (B,): bool (B,). Logits that are not finite are wrong."""
    return (logits.argmax(dim=1) == y) & logits.isfinite().all(dim=1)  # (B,)
