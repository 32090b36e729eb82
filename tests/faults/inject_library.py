"""The C library (inject.c) that breaks changes and reads of the disk: its kinds of fault, and how it is compiled."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

LIBRARY = "SSMLAB_FAULTS"  # the environment variable that names the library, which LD_PRELOAD loads
SOURCE = Path(__file__).with_name("inject.c")
CHANGE_KINDS = ("no space once", "EIO once", "short write, then full", "full", "EIO", "killed", "killed in a write")
READ_KINDS = ("EIO at a read", "access denied at an opening", "a bad page of a map")
KINDS = CHANGE_KINDS + READ_KINDS  # in the order of inject.c
NEVER = 10**9


def build(folder: Path) -> Path:
    """Compile the library; raises FileNotFoundError where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise FileNotFoundError("no C compiler (cc)")
    library = folder / f"inject-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", library, SOURCE, "-ldl"], check=True)
    return library
