"""Batches of a split that is on the device as uint8: no worker processes, augmentation in one gather."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ssmlab.data.dataset import Split
from ssmlab.data.pixels import to_unit
from ssmlab.params import AugmentParams


def batches(
    split: Split,
    batch_size: int,
    *,
    shuffle: torch.Generator | None = None,
    augment: AugmentParams | None = None,
    augment_generator: torch.Generator | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through `split` once, on its device.

    Args:
        batch_size: images per batch; the last batch may have fewer.
        shuffle: draws the order of the epoch; None keeps the split's order.
        augment: how each image is cropped and flipped; None changes nothing.
        augment_generator: draws the crops and flips; required with `augment`. Generators on the CPU work for any
            device, and draw the same numbers for all of them.

    Yields:
        x (B, C, H, W) float32 in [0, 1] and y (B,) int64.
    """
    if augment is not None and augment_generator is None:
        raise ValueError("augmentation needs its own generator")
    order = None
    if shuffle is not None:
        order = epoch_order(len(split), shuffle).to(split.labels.device)
    for start in range(0, len(split), batch_size):
        if order is None:
            images, labels = split.images[start : start + batch_size], split.labels[start : start + batch_size]
        else:  # index_select copies whole images; indexing would be slower, pixel by pixel
            rows = order[start : start + batch_size]
            images, labels = split.images.index_select(0, rows), split.labels.index_select(0, rows)
        if augment is not None and augment_generator is not None:
            images = augment_images(images, augment, augment_generator)
        yield to_unit(images), labels


def epoch_order(images: int, generator: torch.Generator) -> Tensor:
    """The order of an epoch, (images,) int64, drawn on the generator's device."""
    return torch.randperm(images, generator=generator, device=generator.device)


def augment_images(images: Tensor, augment: AugmentParams, generator: torch.Generator) -> Tensor:
    """Pad each image with `augment.crop` zeros on every side, cut a random window of its old size, and maybe mirror it.

    Args:
        images: (B, C, H, W), any dtype.
        generator: draws one window per image, uniformly; then, if `augment.flip`, whether each image is mirrored (left
            to right, probability 1/2).

    Returns:
        a tensor of the shape and dtype of `images`.
    """
    if not augment.crop and not augment.flip:
        return images
    batch, channels, height, width = images.shape
    device, pad = images.device, augment.crop

    def draw(count: int, below: int) -> Tensor:
        return torch.randint(below, (count, batch), generator=generator, device=generator.device).to(device)

    top, left = draw(2, 2 * pad + 1)  # (B,) each
    columns = torch.arange(width, device=device).expand(batch, width)  # (B, W)
    if augment.flip:
        columns = torch.where(draw(1, 2).T == 1, width - 1 - columns, columns)
    columns = left[:, None] + columns
    rows = top[:, None] + torch.arange(height, device=device)  # (B, H)
    padded = F.pad(images, (pad, pad, pad, pad)).flatten(2)  # (B, C, (H + 2 pad)(W + 2 pad))
    pixels = (rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]).flatten(1)  # (B, H W)
    window = padded.gather(2, pixels[:, None].expand(batch, channels, -1))  # (B, C, H W)
    return window.view(images.shape)
