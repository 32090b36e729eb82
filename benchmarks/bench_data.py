"""Images a second: the batches of `ssmlab.data` against torch's DataLoader over the same uint8 data.

Every route gives the same shuffled batches of float32 images in [0, 1] with labels, and a pass over all of the data is
timed, workers' start included as every epoch pays it (`persistent` routes: after a first epoch). Routes take turns,
round by round, so that the machine's drift hits all alike; the ratio is the median over the rounds of ours / theirs.

- ssmlab: `batches` of a `Split`, in this process.
- DataLoader, N workers: `DataLoader(dataset, batch_size, shuffle=True, num_workers=N)`, its default `default_collate`
  over a data set that gives one image at a time, transformed as torchvision's ToTensor does: uint8 to float32 / 255.
  With augmentation, RandomCrop with zero padding and RandomHorizontalFlip of one image come first, in plain torch.
- DataLoader, best: the best that it can be made to do without giving it our code: whole batches are indexed by its
  sampler (`BatchSampler` as sampler, `batch_size=None`) and converted at once, so that it collates nothing. Augmented
  images are still cropped and flipped one by one, as such transforms do.

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

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from ssmlab.data.batches import batches
from ssmlab.data.prepared import Split
from ssmlab.params import AugmentParams

SEED = 0
MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
AUGMENT = AugmentParams(crop=4, flip=True)
Route = Callable[[], Iterable[object]]


@dataclass
class Images(Dataset[tuple[Tensor, Tensor]]):
    """What a DataLoader draws from: one image for a number, a batch for a list of them."""

    images: Tensor
    labels: Tensor
    augment: bool

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int | list[int]) -> tuple[Tensor, Tensor]:
        image = self.images[row]
        if self.augment:
            image = crop_and_flip(image) if image.ndim == 3 else torch.stack([crop_and_flip(each) for each in image])
        return image.to(torch.float32).div_(255), self.labels[row]


def crop_and_flip(image: Tensor) -> Tensor:
    """RandomCrop(32, padding=4) and RandomHorizontalFlip of one image (C, H, W)."""
    _, height, width = image.shape
    top, left, mirrored = torch.randint(2 * AUGMENT.crop + 1, (3,)).tolist()
    image = F.pad(image, (AUGMENT.crop,) * 4)[:, top : top + height, left : left + width]
    return image.flip(-1) if mirrored % 2 else image


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
    """MNIST's 60,000 training images, or as many of random bytes where they are not."""
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
    data = Images(images, labels, augment)
    whole = BatchSampler(RandomSampler(data), batch, drop_last=False)
    loaders: dict[str, DataLoader[tuple[Tensor, Tensor]]] = {}
    for workers in (0, 1, 2):
        loaders[f"DataLoader, {workers} workers"] = DataLoader(data, batch, shuffle=True, num_workers=workers)
    loaders["DataLoader, 2 persistent workers"] = DataLoader(
        data, batch, shuffle=True, num_workers=2, persistent_workers=True
    )
    loaders["DataLoader, best, 0 workers"] = DataLoader(data, batch_size=None, sampler=whole)
    loaders["DataLoader, best, 2 persistent workers"] = DataLoader(
        data, batch_size=None, sampler=whole, num_workers=2, persistent_workers=True, prefetch_factor=8
    )
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
