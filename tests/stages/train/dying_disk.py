"""A disk that dies at the k-th change."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class Disk:
    """A disk that dies at its `left`-th change from now; until it is repaired, every change fails."""

    CHANGES = ("replace", "fsync", "write", "chmod", "unlink")

    def __init__(self, left: int) -> None:
        self.left = left

    def spent(self) -> bool:
        self.left -= 1
        return self.left < 0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def change(*arguments: Any, **named: Any) -> Any:
                if self.spent():
                    raise OSError(errno.EIO, "Input/output error")
                return call(*arguments, **named)

            return change

        with pytest.MonkeyPatch.context() as patch:
            for name in self.CHANGES:
                patch.setattr(os, name, dying(getattr(os, name)))
            yield
