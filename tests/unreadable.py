"""A disk that does not give the bytes of one file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from ssmlab.core import files


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Within this block every attempt to open the file as ours are opened fails with EIO."""
    real, wanted = files.open_at_once, path.resolve()

    def open_or_fail(name: str, flags: int) -> int:
        if Path(name).resolve() == wanted:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(name))
        return real(name, flags)

    with patch.object(files, "open_at_once", open_or_fail):
        yield
