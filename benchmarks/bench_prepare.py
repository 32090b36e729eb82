"""Time and memory of `ssmlab prepare` on an archive of the size of Tiny-ImageNet-200.

The script creates the archive: the official layout with 100,000 + 10,000 + 10,000 JPEGs of 64 x 64 pixels, cut at
random from one large picture of 1/f noise, which has the spectrum of natural images (Field 1987) and similar sizes as
JPEG. Memory is the largest sum of the proportional set sizes (PSS) of the command and all of its children, measured 20
times a second. It does not include the system's page cache.

    python benchmarks/bench_prepare.py [--folder FOLDER] [--images N]
    python benchmarks/bench_prepare.py --source PATH --name NAME [--validation N]
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from ssmlab.data.header import read_data_summary
from ssmlab.params.paths import Paths

STUDY = "bench"
PROJECT = Path(__file__).resolve().parent.parent
CLASSES, SIDE = 200, 64
NAME = "tiny-imagenet-200"


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work; needs 2 GB (default: a temporary folder)")
    parser.add_argument("--images", type=int, default=500, help="training images per class")
    parser.add_argument("--source", type=Path, help="prepare this archive or folder instead")
    parser.add_argument("--name", default="tiny-imagenet", help="what it is")
    parser.add_argument("--validation", type=int, default=5000, help="how many images are held out of training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        source = arguments.source
        if source is None:
            source = folder / f"{NAME}.zip"
            files = make_archive(source, arguments.images, seed=0)
            print(f"{files:,} files, {source.stat().st_size / 1e6:.0f} MB as {source.name}", flush=True)
        write_params(folder, arguments.name, source.resolve(), arguments.validation)
        seconds, peak, processes = watched([sys.executable, "-m", "ssmlab.cli.app", "prepare"], folder)
        prepared = Paths(STUDY, folder).prepared
        found = read_data_summary(prepared)
        images = found.train + found.validation + found.test
        print(f"{images:,} images prepared in {seconds:.1f} s: {images / seconds:,.0f} images/s")
        print(f"{prepared.stat().st_size / 1e6:,.0f} MB written; at most {peak / 1e6:,.0f} MB in {processes} processes")


def make_archive(path: Path, each: int, seed: int) -> int:
    """Write the archive with `each` training images per class; returns how many files it holds."""
    random = np.random.default_rng(seed)
    pictures = crops(picture(random, 1024), random)
    wnids = [f"n{number:08}" for number in random.choice(10**8, CLASSES, replace=False)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{NAME}/wnids.txt", "".join(f"{wnid}\n" for wnid in wnids))
        archive.writestr(f"{NAME}/words.txt", "".join(f"{wnid}\tthing {n}\n" for n, wnid in enumerate(wnids)))
        for wnid in wnids:
            names = [f"{wnid}_{number}.JPEG" for number in range(each)]
            for name in names:
                archive.writestr(f"{NAME}/train/{wnid}/images/{name}", next(pictures))
            boxes = "".join(f"{name}\t0\t0\t63\t63\n" for name in names)
            archive.writestr(f"{NAME}/train/{wnid}/{wnid}_boxes.txt", boxes)
        held_out = [(f"val_{number}.JPEG", wnids[number % CLASSES]) for number in range(50 * CLASSES)]
        for name, _ in held_out:
            archive.writestr(f"{NAME}/val/images/{name}", next(pictures))
        annotations = "".join(f"{name}\t{wnid}\t0\t0\t63\t63\n" for name, wnid in held_out)
        archive.writestr(f"{NAME}/val/val_annotations.txt", annotations)
        for number in range(50 * CLASSES):  # without labels; nobody reads them
            archive.writestr(f"{NAME}/test/images/test_{number}.JPEG", next(pictures))
        return len(archive.namelist())


def picture(random: np.random.Generator, side: int) -> np.ndarray:
    """An RGB picture (side, side, 3) uint8 whose amplitudes fall with the frequency; its channels are correlated."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf

    def noise() -> np.ndarray:
        amplitudes = (random.normal(size=frequency.shape) + 1j * random.normal(size=frequency.shape)) / frequency
        plane = np.fft.irfft2(amplitudes, (side, side))
        return plane / plane.std()

    grey = noise()
    return np.clip(np.stack([128 + 50 * grey + 19 * noise() for _ in range(3)], -1), 0, 255).astype(np.uint8)


def crops(whole: np.ndarray, random: np.random.Generator) -> Iterator[bytes]:
    """Square cuts of `whole` as JPEG files, without end."""
    while True:
        top, left = random.integers(0, len(whole) - SIDE, 2)
        file = io.BytesIO()
        Image.fromarray(whole[top : top + SIDE, left : left + SIDE]).save(file, "JPEG", quality=75)
        yield file.getvalue()


def write_params(folder: Path, name: str, source: Path, validation: int) -> None:
    """The default study with other data."""
    yaml = YAML()
    params = yaml.load(PROJECT / "params.yaml")
    params["study"] = STUDY
    params["data"] = {
        "name": name,
        "source": str(source),
        "train": "all",
        "validation": validation,
        "test": "all",
        "seed": 0,
    }
    yaml.dump(params, folder / "params.yaml")


def watched(command: list[str], folder: Path) -> tuple[float, int, int]:
    """Run a command; returns its seconds, the peak memory of it and its children in bytes, and how many they were."""
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, start_new_session=True)
    peak = most = 0
    while process.poll() is None:
        sizes = memory(process.pid)
        peak, most = max(peak, sum(sizes)), max(most, len(sizes))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.monotonic() - began, peak, most


def memory(session: int) -> list[int]:
    """The proportional set size of each process of a session, bytes."""
    sizes = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                sizes += [int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")]
        except OSError:  # it has ended
            continue
    return sizes


if __name__ == "__main__":
    main()
