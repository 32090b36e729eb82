"""How threads wait for one another."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait. It affects only libraries that are loaded afterwards (torch).

    By default they wait busily for one another at the end of every small operation. As soon as another process wants a
    processor, each such wait costs a slice of the system's scheduler: training of the default study becomes 75 times
    slower next to one busy process. Child processes inherit the setting. A setting of the user is not changed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
