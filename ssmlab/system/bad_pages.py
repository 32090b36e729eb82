"""Handles a page of a mapped file that the disk cannot read.

The system then sends SIGBUS. A handler written in Python would never run, because the thread repeats the failed read.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
WITH_ADDRESS = 4  # SA_SIGINFO: the handler gets a siginfo_t
ADDRESS = 16  # bytes before the address in it


class Action(ctypes.Structure):
    """`struct sigaction` of the C libraries of 64-bit Linux."""

    _fields_ = (
        ("handler", HANDLER),
        ("mask", ctypes.c_char * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


@contextmanager
def ending_at_bad_page(tell: Callable[[str], object]) -> Iterator[None]:
    """Within this block, a page that cannot be read ends the process with code 1, after `tell` gets the file's path.

    As after a kill, nothing else is cleaned up. This works on 64-bit Linux only; elsewhere the signal ends the process.
    """
    if sys.platform != "linux" or sys.maxsize < 2**32:
        yield
        return

    def end(_: int, info: int, __: int) -> None:
        try:
            tell(file_at(ctypes.c_uint64.from_address(info + ADDRESS).value))
        finally:
            os._exit(1)

    library, before = ctypes.CDLL(None), Action()
    action = Action(handler=HANDLER(end), flags=WITH_ADDRESS)
    library.sigaction(signal.SIGBUS, ctypes.byref(action), ctypes.byref(before))
    try:
        yield
    finally:
        library.sigaction(signal.SIGBUS, ctypes.byref(before), None)


def file_at(address: int) -> str:
    """The path of the file that is mapped at an address; "a mapped file" if there is none."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:  # noqa: PTH123 - no import here
        for line in maps:
            addresses, *_, path = line.rstrip("\n").split(maxsplit=5)
            first, last = (int(end, 16) for end in addresses.split("-"))
            if first <= address < last and path.startswith("/"):
                return path.removesuffix(" (deleted)")
    return "a mapped file"
