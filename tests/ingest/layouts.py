"""Small data sets in every layout, as files by name, and the containers that people keep them in."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssmlab.params import DataParams

Files = dict[str, bytes]


def wanted(source: Path | str, name: str = "mine", **others) -> DataParams:
    """The section `data` with all images of `source`."""
    return DataParams(name=name, source=str(source), train="all", validation=0, test="all", seed=0, **others)


def pixels(count: int, shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random images (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def idx(array: npt.NDArray[np.uint8]) -> bytes:
    """An array of bytes as IDX."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_files(train: int = 20, test: int = 10, side: int = 5, classes: int = 10) -> Files:
    """MNIST's four files."""
    files = {}
    for prefix, count, seed in (("train", train, 0), ("t10k", test, 1)):
        files[f"{prefix}-images-idx3-ubyte"] = idx(pixels(count, (side, side), seed))
        files[f"{prefix}-labels-idx1-ubyte"] = idx((np.arange(count) % classes).astype(np.uint8))
    return files


def cifar_binary(counts: dict[str, int], label_bytes: int = 1, classes: int = 10) -> Files:
    """CIFAR's binary version: file -> images."""
    files = {}
    for seed, (name, count) in enumerate(counts.items()):
        labels = np.zeros((count, label_bytes), np.uint8)
        labels[:, -1] = np.arange(count) % classes
        files[name] = np.concatenate([labels, pixels(count, (3072,), seed)], axis=1).tobytes()
    return files


def cifar_python(counts: dict[str, int], key: str = "labels", classes: int = 10, protocol: int = 2) -> Files:
    """CIFAR's python version, with the same pixels as `cifar_binary`: file -> images."""
    files = {}
    for seed, (name, count) in enumerate(counts.items()):
        batch = {"data": pixels(count, (3072,), seed), key: [int(row) % classes for row in range(count)]}
        files[name] = pickle.dumps({"batch_label": "x", "filenames": ["a.png"] * count, **batch}, protocol)
    return files


def npz_files(
    train: int = 20, val: int = 10, test: int = 10, shape: tuple[int, ...] = (5, 5), classes: int = 10
) -> Files:
    """MedMNIST's six arrays."""
    files = {}
    for seed, (prefix, count) in enumerate({"train": train, "val": val, "test": test}.items()):
        arrays = {
            "images": pixels(count, shape, seed),
            "labels": (np.arange(count) % classes).astype(np.uint8)[:, None],
        }
        for what, array in arrays.items():
            files[f"{prefix}_{what}.npy"] = npy(array)
    return files


def npy(array: npt.NDArray[np.generic], allow_pickle: bool = False) -> bytes:
    """An array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def encoded(image: npt.NDArray[np.uint8], kind: str = "PNG", **options) -> bytes:
    """An image (H, W) or (H, W, 3) as a file's content."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def image_files(
    parts: tuple[str, ...] = ("train/", "test/"),
    classes: tuple[str, ...] = ("cat", "dog", "frog"),
    count: int = 2,
    shape: tuple[int, ...] = (6, 6, 3),
    kind: str = "PNG",
) -> Files:
    """An image folder."""
    return {
        f"{part}{name}/{number}.{kind.lower()}": encoded(pixels(1, shape, hash_of(part, name, number))[0], kind)
        for part in parts
        for name in classes
        for number in range(count)
    }


def hash_of(*values: object) -> int:
    """A seed that is the same in every process."""
    return int.from_bytes(repr(values).encode()[-6:])


def tiny_files(wnids: tuple[str, ...] = ("n02", "n01", "n03"), present: int = 3, count: int = 2) -> Files:
    """Tiny-ImageNet's layout, whose first `present` classes have images; one of the images is grey."""
    files = {
        "wnids.txt": "\n".join(wnids).encode(),
        "words.txt": b"n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\nn99\tentity\n",
    }
    lines = []
    for position, wnid in enumerate(wnids[:present]):
        for number in range(count):
            shape = (64, 64) if (position, number) == (0, 0) else (64, 64, 3)
            files[f"train/{wnid}/images/{wnid}_{number}.JPEG"] = encoded(pixels(1, shape, number)[0], "JPEG")
        files[f"train/{wnid}/{wnid}_boxes.txt"] = b"0 0 1 1\n"
        files[f"val/images/val_{position}.JPEG"] = encoded(pixels(1, (64, 64, 3), 50 + position)[0], "JPEG")
        lines.append(f"val_{position}.JPEG\t{wnid}\t0\t0\t62\t62")
    files["val/val_annotations.txt"] = "\n".join(lines).encode()
    files["test/images/test_0.JPEG"] = b"unlabelled"
    return files


def as_folder(files: Files, path: Path) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(files: Files, path: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def as_tar(files: Files, path: Path, compression: str = "") -> Path:
    with tarfile.open(path, f"w:{compression}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


CONTAINERS: dict[str, Callable[[Files, Path], Path]] = {
    "folder": as_folder,
    "zip": as_zip,
    "stored zip": lambda files, path: as_zip(files, path, zipfile.ZIP_STORED),
    "zip of xz": lambda files, path: as_zip(files, path, zipfile.ZIP_LZMA),
    "tar": as_tar,
    "tar.gz": lambda files, path: as_tar(files, path, "gz"),
    "tar.bz2": lambda files, path: as_tar(files, path, "bz2"),
    "tar.xz": lambda files, path: as_tar(files, path, "xz"),
}
