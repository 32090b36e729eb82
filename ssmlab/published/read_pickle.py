"""The process that reads one pickle: `read_pickle.py FILE TENSORS MEMORY`. It imports nothing from ssmlab.

Exit code 0: the file TENSORS was written. 3: the pickle was refused, and the reason is on stdout, in one line. Any
other code: the process died, most likely at its memory limit.
"""

from __future__ import annotations

import pickle
import re
import resource
import sys
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

PAGE = resource.getpagesize()


def main(source: str, target: str, memory: str) -> int:
    """Read `source`, write its tensors to `target`; returns the exit code."""
    limit(int(memory))
    torch.set_num_threads(1)
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
        tensors = tensors_by_key(content) if isinstance(content, dict) else {}
        if not tensors:
            return refuse("it holds no state dict")
        safetensors.torch.save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, target)
    except MemoryError:
        return refuse(out_of_memory(memory))
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it would run {asked[1]}, but a state dict needs no code" if asked else "it is not a pickle of tensors"
        return refuse(f"{what}; save `model.state_dict()` alone")
    except RuntimeError as error:
        if "memory" in str(error):
            return refuse(out_of_memory(memory))
        return refuse(f"it is damaged or not a file of torch.save ({str(error).splitlines()[0]})")
    except (EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError) as error:
        return refuse(f"it is damaged or not a file of torch.save ({type(error).__name__})")
    return 0


def limit(memory: int) -> None:
    """Limit this process to `memory` more bytes of memory, to files of `memory` bytes, and to no core dump."""
    statm = Path("/proc/self/statm")
    have = int(statm.read_text().split()[0]) * PAGE if statm.is_file() else 1 << 33
    for what, most in ((resource.RLIMIT_AS, have + memory), (resource.RLIMIT_FSIZE, memory), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def tensors_by_key(content: dict[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    """The dense tensors in nested dicts, under their keys joined by dots; everything else is left out."""
    found: dict[str, Tensor] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= tensors_by_key(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized:
            found[f"{prefix}{key}"] = value.detach()
    return found


def refuse(reason: str) -> int:
    """Print the reason as one line and return the exit code of a refusal."""
    sys.stdout.write("".join(character if character.isprintable() else " " for character in reason))
    return 3


def out_of_memory(memory: str) -> str:
    """The reason for refusing a file whose content takes too much memory."""
    return f"reading it takes more than {int(memory) >> 20} MiB of memory"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
