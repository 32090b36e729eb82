"""Images per second: the batches of `ssmlab.data` compared with torch's DataLoader on the same uint8 data.

Every route gives shuffled batches of float32 images in [0, 1] with labels. One pass over all data is timed, including
the start of workers, which every epoch pays; `persistent` workers were started by an earlier pass that is not timed.
Routes take turns in every round, so that changes in the machine's speed affect all of them equally; the ratio is the
median over the rounds.

- ssmlab: `batches` of a `Split`, in this process, on as many threads as the first line says.
- DataLoader, PIL: the usual way. `DataLoader(dataset, batch_size, shuffle=True, num_workers=N)` with its
  `default_collate`, over a data set that does for one image at a time what torchvision's MNIST and CIFAR10 with
  ToTensor do: PIL image, array, tensor, contiguous (C, H, W), float32, / 255. Augmented: RandomCrop(padding=4) and
  RandomHorizontalFlip of the PIL image come first. (torchvision is not installed; the steps are written out below.)
- DataLoader, tensors: the same with a lean data set: an image is a row of one tensor, converted in place; no PIL. -
DataLoader, batched: the fastest form of the DataLoader. Its sampler draws whole batches (`BatchSampler`,
`batch_size=None`), which
  `index_select` gathers and which are converted at once: nothing is done image by image, and nothing is collated. That
  is what ssmlab does, inside a DataLoader. Augmented images are still cropped and flipped one by one.

    python benchmarks/bench_data.py [--rounds N] [--batch N] [--mnist FOLDER]
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from ssmlab.data.batches import batches
from ssmlab.data.dataset import Split
from ssmlab.params import AugmentParams

SEED = 0
MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
AUGMENT = AugmentParams(crop=4, flip=True)
Route = Callable[[], Iterable[object]]


@dataclass
class PilImages(Dataset[tuple[Tensor, int]]):
    """One image at a time, by way of PIL. `images` is (N, H, W) or (N, H, W, 3), as PIL takes them."""

    images: np.ndarray
    labels: Tensor
    augment: bool

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[row])
        if self.augment:
            image = pil_crop_and_flip(image)
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(*image.size[::-1], -1)  # (H, W, C)
        return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255), int(self.labels[row])


def pil_crop_and_flip(image: Image.Image) -> Image.Image:
    """RandomCrop to its own size with zero padding, and RandomHorizontalFlip."""
    padded = ImageOps.expand(image, border=AUGMENT.crop, fill=0)
    top, left = torch.randint(2 * AUGMENT.crop + 1, (2,)).tolist()
    image = padded.crop((left, top, left + image.width, top + image.height))
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1) < 0.5 else image


@dataclass
class TensorImages(Dataset[tuple[Tensor, Tensor]]):
    """One image (C, H, W) for a number, a batch of them for a list of numbers."""

    images: Tensor
    labels: Tensor
    augment: bool

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int | list[int]) -> tuple[Tensor, Tensor]:
        if isinstance(row, list):
            rows = torch.tensor(row)
            images, labels = self.images.index_select(0, rows), self.labels.index_select(0, rows)
            if self.augment:
                images = torch.stack([crop_and_flip(image) for image in images])
        else:
            images, labels = self.images[row], self.labels[row]
            if self.augment:
                images = crop_and_flip(images)
        return images.to(torch.float32).div_(255), labels


def crop_and_flip(image: Tensor) -> Tensor:
    """The same as `pil_crop_and_flip` for a tensor (C, H, W)."""
    _, height, width = image.shape
    top, left = torch.randint(2 * AUGMENT.crop + 1, (2,)).tolist()
    image = F.pad(image, (AUGMENT.crop,) * 4)[:, top : top + height, left : left + width]
    return image.flip(-1) if torch.rand(1) < 0.5 else image


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--mnist", type=Path, default=MNIST, help="folder with train-images-idx3-ubyte.gz")
    options = parser.parse_args()
    threads = f"{torch.get_num_threads()} threads, {len(os.sched_getaffinity(0))} cores"
    print(f"{processor()}, torch {torch.__version__}, {threads}, batch {options.batch}, seed {SEED}")
    images, what = mnist(options.mnist)
    compare(f"{what}, no augmentation", images, options.batch, options.rounds, augment=False)
    colour = torch.randint(256, (50_000, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(SEED))
    compare("50,000 images of 3 x 32 x 32, no augmentation", colour, options.batch, options.rounds, augment=False)
    compare("50,000 images of 3 x 32 x 32, crop 4 and flip", colour, options.batch, options.rounds, augment=True)


def mnist(folder: Path) -> tuple[Tensor, str]:
    """MNIST's 60,000 training images, or as many images of random bytes if MNIST is missing."""
    file = folder / "train-images-idx3-ubyte.gz"
    if not file.exists():
        generator = torch.Generator().manual_seed(SEED)
        return torch.randint(256, (60_000, 1, 28, 28), dtype=torch.uint8, generator=generator), "60,000 of 1 x 28 x 28"
    pixels = bytearray(gzip.decompress(file.read_bytes())[16:])
    return torch.frombuffer(pixels, dtype=torch.uint8).view(60_000, 1, 28, 28), "MNIST, 60,000 images"


def compare(title: str, images: Tensor, batch: int, rounds: int, *, augment: bool) -> None:
    """Time all routes in turn, and print a table."""
    labels = torch.arange(len(images)) % 10
    all_routes = routes(images, labels, batch, augment)
    seconds: dict[str, list[float]] = {name: [] for name in all_routes}
    for route in all_routes.values():
        timed(route)  # a round that does not count
    for _ in range(rounds):
        for name, route in all_routes.items():
            seconds[name].append(timed(route))
    print(f"\n{title}\n\n| route | images/s | ssmlab / this |\n|---|--:|--:|")
    ours = seconds["ssmlab"]
    for name, theirs in seconds.items():
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        print(f"| {name} | {len(images) / statistics.median(theirs):,.0f} | {ratio:.1f} |")


def routes(images: Tensor, labels: Tensor, batch: int, augment: bool) -> dict[str, Route]:
    """Every route by name; calling one gives an epoch."""
    split = Split(images, labels, labels)
    order, draws = (torch.Generator().manual_seed(SEED + number) for number in range(2))
    pil = PilImages(images.permute(0, 2, 3, 1).squeeze(-1).contiguous().numpy(), labels, augment)
    tensors = TensorImages(images, labels, augment)
    whole = BatchSampler(RandomSampler(tensors), batch, drop_last=False)
    kept = {"num_workers": 2, "persistent_workers": True}
    loaders: dict[str, DataLoader[object]] = {}
    for workers in (0, 1, 2):
        loaders[f"DataLoader, PIL, {workers} workers"] = DataLoader(pil, batch, shuffle=True, num_workers=workers)
    loaders["DataLoader, PIL, 2 persistent workers"] = DataLoader(pil, batch, shuffle=True, **kept)
    loaders["DataLoader, tensors, 0 workers"] = DataLoader(tensors, batch, shuffle=True)
    loaders["DataLoader, tensors, 2 persistent workers"] = DataLoader(tensors, batch, shuffle=True, **kept)
    loaders["DataLoader, batched, 0 workers"] = DataLoader(tensors, batch_size=None, sampler=whole)
    loaders["DataLoader, batched, 2 persistent workers"] = DataLoader(tensors, batch_size=None, sampler=whole, **kept)
    chosen = {"augment": AUGMENT, "augment_generator": draws} if augment else {}
    return {"ssmlab": lambda: batches(split, batch, shuffle=order, **chosen)} | {
        name: (lambda loader=loader: loader) for name, loader in loaders.items()
    }


def timed(route: Route) -> float:
    """Seconds of one epoch."""
    began = time.perf_counter()
    for _ in route():
        pass
    return time.perf_counter() - began


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
