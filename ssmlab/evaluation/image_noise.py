"""Random starts that depend only on the image and the seed, so batch size and order do not change results.

torchattacks draws one block of numbers for a whole batch, so an image's start depends on its position in the batch.
Here every image has its own generator, seeded by its pixels. Equal images get equal starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ssmlab.core.seeds import seed_of


def image_noise(
    images: Tensor, shape: torch.Size, seed: int, purpose: str, draw: Callable[..., Tensor] = torch.rand
) -> Tensor:
    """Random float32 numbers of shape `shape` on the images' device; the first dimension is the image.

    Row b depends only on `images[b]` (any shape and dtype), `seed` and `purpose`.

    Args:
        draw: torch.rand for uniform numbers in [0, 1), torch.randn for normal numbers.
    """
    rows = []
    for image in images.detach().cpu():
        pixels = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
        generator = torch.Generator().manual_seed(seed_of(seed, f"{purpose} of image {pixels}"))
        rows.append(draw(shape[1:], generator=generator, dtype=torch.float32))
    return torch.stack(rows).to(images.device)


class NoiseOfImages(TorchFunctionMode):
    """Inside this context, `torch.rand`, `torch.randn` and `Tensor.uniform_` draw numbers that depend on the image.

    Args:
        images: (B, C, H, W). Only draws of shape (B, ., ., .) are replaced; all others are drawn as usual.
    """

    def __init__(self, images: Tensor, seed: int, purpose: str) -> None:
        super().__init__()
        self.images, self.seed, self.purpose = images, seed, purpose
        self.draws = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.rand, torch.randn) and self.is_one_row_an_image(args[0]):
            # torchattacks itself draws on the CPU and moves the numbers to the device
            return self.drawn(torch.Size(args[0]), func).cpu()
        if func is Tensor.uniform_ and self.is_one_row_an_image(args[0].shape):
            target, low, high = args
            return target.copy_(low + (high - low) * self.drawn(target.shape, torch.rand))
        return func(*args, **(kwargs or {}))

    def is_one_row_an_image(self, shape: Any) -> bool:
        return len(shape) == 4 and shape[0] == len(self.images)

    def drawn(self, shape: torch.Size, draw: Callable[..., Tensor]) -> Tensor:
        """The next random numbers of every image; every draw gives new numbers."""
        self.draws += 1
        purpose = self.purpose if self.draws == 1 else f"{self.purpose}, draw {self.draws}"
        return image_noise(self.images, shape, self.seed, purpose, draw)


class StartsByImage:
    """Makes the starts of a torchattacks attack depend on the image, the seed, and the number of starts before.

    One object attacks one batch, so starts are counted from zero for every batch.
    """

    seed: int
    starts = 0
    in_start = False
    drawing = ExitStack()

    @contextmanager
    def noise_of(self, images: Tensor) -> Iterator[None]:
        """Inside this context, random numbers depend on the images until the first forward pass."""
        self.starts += 1
        with ExitStack() as self.drawing:
            self.drawing.enter_context(NoiseOfImages(images, self.seed, f"start {self.starts}"))
            self.in_start = True
            yield

    def get_logits(self, *args: Any, **kwargs: Any) -> Tensor:
        """The model's logits. The start has been drawn by now, so draws of the model itself are not replaced."""
        self.drawing.close()
        self.in_start = False
        logits: Tensor = super().get_logits(*args, **kwargs)  # type: ignore[misc]
        return logits
