"""Reading tensors from files that are not trusted.

A safetensors file is plain data and is read here. A `.pt` or `.pth` file is a pickle, which is a program. A separate
process (read_pickle.py) reads it: that process only follows instructions that make tensors, has a limit on memory and
time, and returns the tensors as a safetensors file.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from torch import Tensor

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.tensors import DamagedTensors, mapped_tensors

PICKLES = (".pt", ".pth")
MIB = 1 << 20
LARGEST = 256 * MIB  # bytes of a file; the published checkpoints have under 1,000,000 numbers, 4 MB
MEMORY = 1024 * MIB  # bytes that the child process may use in addition to what importing torch takes
SECONDS = 120.0
CHILD = Path(__file__).with_name("read_pickle.py")
REFUSED = 3  # the child's exit code when it has printed the reason
CALM = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}  # each thread would reserve memory


def read_state_dict(path: Path, memory: int = MEMORY, seconds: float = SECONDS) -> dict[str, Tensor]:
    """The tensors of a `.safetensors`, `.pt` or `.pth` file by name, on the CPU; nested names are joined by dots.

    Args:
        memory: bytes that reading a pickle may take; seconds: how long it may take.

    Raises:
        UserError: the file is missing, damaged, too large, of another kind, or contains more than tensors.
    """
    kinds = (".safetensors", *PICKLES)
    if path.suffix not in kinds:
        raise UserError(f"{path}: cannot be imported; name a {', '.join(kinds[:-1])} or {kinds[-1]} file")
    try:
        length = path.stat().st_size
    except OSError as error:
        raise UserError(cannot(path, "read", error)) from None
    if not path.is_file():
        raise UserError(f"{path}: is not a file")
    if length > LARGEST:
        raise UserError(f"{path}: {length // MIB} MiB is too large to import (at most {LARGEST // MIB} MiB)")
    return read_pickle(path, memory, seconds) if path.suffix in PICKLES else read_safetensors(path)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises UserError if it is damaged or cut off."""
    try:
        with mapped_tensors(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a mapping
    except (OSError, DamagedTensors) as error:
        raise UserError(f"{path}: not a complete safetensors file ({str(error).splitlines()[0]})") from None


def read_pickle(path: Path, memory: int, seconds: float) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote, read by the child; raises UserError if it refuses or fails."""
    with tempfile.TemporaryDirectory(prefix="ssmlab-") as folder:
        tensors = Path(folder) / "tensors.safetensors"
        command = [sys.executable, "-I", str(CHILD), str(path.resolve()), str(tensors), str(memory)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                env=os.environ | CALM,
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"{path}: refused: reading it took more than {seconds:g} seconds") from None
        if done.returncode == REFUSED:
            raise UserError(f"{path}: refused: {done.stdout.decode(errors='replace')[:300]}")
        if done.returncode != 0 or not tensors.is_file():
            raise UserError(f"{path}: refused: reading it failed, or took more than {memory // MIB} MiB of memory")
        return read_safetensors(tensors)
