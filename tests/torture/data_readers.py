"""Damaged files for every reader of data: each must be read, or refused in one line, within 2 s of CPU and 500 MB.

Every case is a small sound file with a few random changes, read in a process of its own with hard limits. A case fails
if the reader gives a traceback, runs out of its limits, prints anything, or leaves a file behind.

    python -m tests.torture.data_readers --cases 20000 --seed 1 --keep FOLDER
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Split, load_dataset, make_dataset, save_dataset
from ssmlab.data.header import read_data_summary
from ssmlab.ingest.open_source import open_path
from ssmlab.report.terminal.contact_sheet import read_contact_sheet
from tests.ingest.layouts import (
    CONTAINERS,
    Files,
    as_folder,
    cifar_binary,
    cifar_python,
    idx_files,
    image_files,
    npz_files,
    pixels,
    tiny_files,
    wanted,
)

CPU_SECONDS = 2
MEMORY = 500 << 20  # bytes beyond what the process has after its imports
LONGEST_LINE = 1_000  # characters of an error; it has a path of a temporary folder in it
PREPARED = "prepared.safetensors"
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Case:
    """A file or folder to read, and how it came about."""

    path: Path
    what: str


def seeds() -> dict[str, Files]:
    """A small sound data set in every layout, and images in every format."""
    layouts = {
        "idx": idx_files(),
        "cifar binary": cifar_binary({"data_batch_1.bin": 12, "test_batch.bin": 12}),
        "cifar 2 to 4": cifar_python({"data_batch_1": 12}) | cifar_python({"test_batch": 12}, protocol=4),
        "cifar 0": cifar_python({"data_batch_1": 12}, protocol=0),
        "npz": npz_files(),
        "npz colour": npz_files(shape=(5, 5, 3)),
        "tiny": tiny_files(),
        "folder": image_files(count=1),
    }
    return layouts | {f"images {name}": images for name, images in image_seeds().items()}


def image_seeds() -> dict[str, Files]:
    """Two classes of one image each, for every format and mode that is read."""
    colour, alpha = pixels(1, (12, 16, 3))[0], pixels(1, (12, 16, 1), 1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = {
        "RGB": Image.fromarray(colour),
        "L": Image.fromarray(colour[..., 0]),
        "P": Image.fromarray(colour).quantize(16),
        "RGBA": Image.fromarray(np.dstack([colour, alpha])),
        "LA": Image.fromarray(np.dstack([colour[..., :1], alpha])),
        "1": Image.fromarray(colour).convert("1"),
        "CMYK": Image.fromarray(colour).convert("CMYK"),
    }
    kinds = {
        "PNG": ("RGB", "L", "P", "RGBA", "LA", "1"),
        "JPEG": ("RGB", "L", "CMYK"),
        "GIF": ("RGB", "P"),
        "BMP": ("RGB", "L", "P", "1"),
        "WEBP": ("RGB", "RGBA"),
        "TIFF": ("RGB", "L", "P", "RGBA", "CMYK", "1"),
        "PPM": ("RGB", "L", "1"),
    }
    found: dict[str, Files] = {}
    for kind, modes in kinds.items():
        for mode in modes:
            options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP") else {}
            if kind == "TIFF" and mode == "L":
                options = {"compression": "tiff_lzw"}
            buffer = io.BytesIO()
            pictures[mode].save(buffer, kind, **options)
            found[f"{kind} {mode}"] = {f"{name}/1.{kind.lower()}": buffer.getvalue() for name in ("cat", "dog")}
    return found


def prepared() -> bytes:
    """The bytes of a small prepared data set."""
    draws = torch.Generator().manual_seed(0)
    splits = {
        name: Split(
            torch.randint(256, (n, 1, 4, 4), dtype=torch.uint8, generator=draws), torch.arange(n) % 2, torch.arange(n)
        )
        for name, n in (("train", 6), ("validation", 2), ("test", 4))
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, PREPARED)
        save_dataset(path, make_dataset("toy", 2, splits))
        return path.read_bytes()


def mutate(content: bytes, other: bytes, draws: random.Random) -> bytes:
    """`content` with one to five random changes; `other` is where foreign bytes come from."""
    changed = bytearray(content)
    for _ in range(draws.randint(1, 5)):
        if not changed:
            changed += b"\0"
        at = draws.randrange(min(len(changed), draws.choice((16, 64, 512, 1 << 30))))  # headers are small and first
        size = draws.choice((1, 2, 4, 8, 40))
        match draws.randrange(8):
            case 0:
                changed[at] ^= 1 << draws.randrange(8)
            case 1:
                changed[at] = draws.randrange(256)
            case 2:
                number = draws.choice(NUMBERS).to_bytes(8, draws.choice(("little", "big")))
                width = draws.choice((1, 2, 4, 8))
                changed[at : at + width] = number[:width] if draws.random() < 0.5 else number[-width:]
            case 3:
                del changed[at : at + size]
            case 4:
                changed[at:at] = changed[at : at + size] * draws.choice((1, 2, 50))
            case 5:
                del changed[at:]
            case 6:
                start = draws.randrange(len(other) + 1)
                changed[at : at + size] = other[start : start + size]
            case 7:  # a number in a text: shapes, labels, sizes
                digits = [i for i, byte in enumerate(changed) if 48 <= byte < 58]
                if digits:
                    i = draws.choice(digits)
                    changed[i : i + 1] = draws.choice((b"-1", b"99999999", b"1" * 30, b"0", b"[", b"1e9"))
    return bytes(changed)


def with_right_checksums(png: bytes) -> bytes:
    """A changed PNG whose chunks have the checksums of their content, so that the change gets past them."""
    fixed, at = bytearray(png), 8
    while at + 12 <= len(fixed):
        length = int.from_bytes(fixed[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = zlib.crc32(fixed[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(fixed)


def make_case(number: int, seed: int, sound: dict[str, Files], data: bytes, folder: Path) -> Case:
    """The case `number` of a `seed`, written below `folder`."""
    draws = random.Random(f"{seed} {number}")
    if draws.random() < 0.1:
        path = folder / PREPARED
        path.write_bytes(mutate(data, data, draws))
        return Case(path, "prepared")
    name = draws.choice(sorted(sound))
    files = dict(sound[name])
    other = draws.choice(list(sound[draws.choice(sorted(sound))].values()))
    if draws.random() < 0.6:  # a changed file, in a folder: no checksum of an archive is in the way
        member = draws.choice(sorted(files))
        files[member] = mutate(files[member], other, draws)
        if files[member].startswith(b"\x89PNG") and draws.random() < 0.8:
            files[member] = with_right_checksums(files[member])
        return Case(as_folder(files, folder / "set"), f"{name}: {member}")
    container = draws.choice([each for each in CONTAINERS if each != "folder"])
    path = CONTAINERS[container](files, folder / "set")
    path.write_bytes(mutate(path.read_bytes(), other, draws))
    return Case(path, f"{name}: {container}")


def read(case: Case, workdir: Path) -> None:
    """Everything that the project does with such a file."""
    if case.path.name == PREPARED:
        for reader in (read_data_summary, read_contact_sheet, load_dataset):
            reader(case.path)
        return
    with open_path(case.path, None, wanted(case.path, size=8), workdir) as source:
        for part in source.parts.values():
            part.images.read(np.arange(len(part)))


def outcome(case: Case, folder: Path) -> str:
    """`read`, `refused`, or what is wrong; the reader runs in a child process with hard limits."""
    workdir, said, printed = folder / "workdir", folder / "said", folder / "printed"
    workdir.mkdir()
    before = {path for path in folder.rglob("*") if workdir not in path.parents}
    child = os.fork()
    if child == 0:
        run_child(case, workdir, said, printed)
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    if usage.ru_utime + usage.ru_stime > CPU_SECONDS:
        return f"took {usage.ru_utime + usage.ru_stime:.1f} s of CPU"
    if printed.read_bytes():
        return f"printed {printed.read_bytes()[:200]!r}"
    after = {path for path in folder.rglob("*") if workdir not in path.parents} - {said, printed}
    if after != before:
        return f"left {sorted(after ^ before)}"
    return said.read_text()


def run_child(case: Case, workdir: Path, said: Path, printed: Path) -> None:
    """Read `case` under limits, write the outcome into `said`, and end this process."""
    told = "no outcome"
    try:
        with printed.open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS + 1, CPU_SECONDS + 2))
        read(case, workdir)
        told = "read"
    except UserError as error:
        line = str(error)
        fine = line.isprintable() and len(line) < LONGEST_LINE
        told = "refused" if fine else f"an error that is not one short line: {line[:300]!r}"
    except BaseException as error:  # any exception is a finding of this harness
        told = f"{type(error).__name__}: {error}"[:300]
    finally:
        said.write_text(told)
        os._exit(0)


def torture(cases: int, seed: int, keep: Path | None, seconds: float = float("inf")) -> dict[str, object]:
    """Run the cases, or as many as fit into `seconds`; failing files are copied to `keep`."""
    sound, data, began = seeds(), prepared(), time.monotonic()
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    for number in range(cases):
        if time.monotonic() - began > seconds:
            break
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            case = make_case(number, seed, sound, data, folder)
            cpu = child_seconds()
            told = outcome(case, folder)
            slowest = max(slowest, child_seconds() - cpu)
            outcomes[told if told in ("read", "refused") else "failed"] += 1
            if told not in ("read", "refused"):
                failures.append(f"case {number} of seed {seed} ({case.what}): {told}")
                if keep is not None:
                    copy: Callable[..., object] = shutil.copytree if case.path.is_dir() else shutil.copy
                    keep.mkdir(parents=True, exist_ok=True)
                    copy(case.path, keep / f"{seed}-{number}-{case.path.name}")
    return {
        **outcomes,
        "cases": sum(outcomes.values()),
        "slowest_cpu_seconds": round(slowest, 2),
        "failures": failures,
    }


def child_seconds() -> float:
    """CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the outcome as JSON; exit code 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--keep", type=Path, help="a folder for the files of failing cases")
    options = parser.parse_args()
    found = torture(options.cases, options.seed, options.keep, options.seconds)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    main()
