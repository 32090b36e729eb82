"""Sets how threads wait for each other."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait. It affects only libraries that are loaded afterwards (torch).

    By default, they wait busily for each other at the end of every small operation. If another process needs a
    processor, each such wait costs a time slice of the system's scheduler. Next to one busy process, training of the
    default study becomes 75 times slower. Child processes inherit the setting. A setting of the user is not changed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
