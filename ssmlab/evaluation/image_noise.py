"""Random starts that depend on the image they are for, so that batch size and order change no result.

torchattacks draws one block of numbers for a whole batch, so that an image's start depends on its place in the batch.
Here every image has a generator of its own, seeded by its pixels; equal images get equal starts.
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
    """Random numbers, float32 on the images' device: `shape`, whose first dimension is that of the images.

    Row b depends on `images[b]` (any shape and dtype), `seed` and `purpose` alone.

    Args:
        draw: torch.rand for uniform numbers in [0, 1), torch.randn for normal ones.
    """
    rows = []
    for image in images.detach().cpu():
        pixels = hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
        generator = torch.Generator().manual_seed(seed_of(seed, f"{purpose} of image {pixels}"))
        rows.append(draw(shape[1:], generator=generator, dtype=torch.float32))
    return torch.stack(rows).to(images.device)


class NoiseOfImages(TorchFunctionMode):
    """Inside, `torch.rand`, `torch.randn` and `Tensor.uniform_` of one row an image draw the images' own numbers.

    Args:
        images: (B, C, H, W). Everything that is not (B, ., ., .) is drawn as usual.
    """

    def __init__(self, images: Tensor, seed: int, purpose: str) -> None:
        super().__init__()
        self.images, self.seed, self.purpose = images, seed, purpose
        self.draws = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.rand, torch.randn) and self.is_one_row_an_image(args[0]):
            # torchattacks draws on the CPU and moves the numbers itself
            return self.drawn(torch.Size(args[0]), func).cpu()
        if func is Tensor.uniform_ and self.is_one_row_an_image(args[0].shape):
            target, low, high = args
            return target.copy_(low + (high - low) * self.drawn(target.shape, torch.rand))
        return func(*args, **(kwargs or {}))

    def is_one_row_an_image(self, shape: Any) -> bool:
        return len(shape) == 4 and shape[0] == len(self.images)

    def drawn(self, shape: torch.Size, draw: Callable[..., Tensor]) -> Tensor:
        """The next numbers of every image; each draw has numbers of its own."""
        self.draws += 1
        purpose = self.purpose if self.draws == 1 else f"{self.purpose}, draw {self.draws}"
        return image_noise(self.images, shape, self.seed, purpose, draw)


class StartsByImage:
    """For an attack of torchattacks: its starts depend on the image, the seed, and how many starts there were before.

    One object attacks one batch, so that the starts are counted from zero for every batch.
    """

    seed: int
    starts = 0
    in_start = False
    drawing = ExitStack()

    @contextmanager
    def noise_of(self, images: Tensor) -> Iterator[None]:
        """Inside, until the first forward pass, random numbers are those of the images."""
        self.starts += 1
        with ExitStack() as self.drawing:
            self.drawing.enter_context(NoiseOfImages(images, self.seed, f"start {self.starts}"))
            self.in_start = True
            yield

    def get_logits(self, *args: Any, **kwargs: Any) -> Tensor:
        """The model's logits. The start has been drawn by then; what the model draws itself is left alone."""
        self.drawing.close()
        self.in_start = False
        logits: Tensor = super().get_logits(*args, **kwargs)  # type: ignore[misc]
        return logits
