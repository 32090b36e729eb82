"""What ends a command: Ctrl-C, SIGTERM, SIGHUP as one KeyboardInterrupt, and the death of the DVC or torchrun above."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ssmlab.system.processes import environment_of, is_alive, parent_of, pid_start_time

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONE_AND_THE_SAME = 2.0  # seconds
LOOK_EVERY = 0.5  # seconds
LAUNCHED = ("DVC_STAGE", "TORCHELASTIC_RUN_ID", "SSMLAB_GRID")  # set by DVC, torchrun and a grid for their processes


@contextmanager
def interruptible() -> Iterator[None]:
    """Within this block every one of SIGNALS raises KeyboardInterrupt, unless it was ignored before (nohup).

    A stop often comes as several signals (to the process, to its group, from a dying parent): what follows the first
    within two seconds is taken as the same, so that it does not break into putting things in order.
    """
    last = -math.inf

    def interrupt(*_: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > ONE_AND_THE_SAME:
            last = now
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])


@contextmanager
def ending_with_launcher() -> Iterator[None]:
    """Within this block the process is sent SIGTERM if the DVC or torchrun that began it has gone.

    A SIGTERM, SIGHUP or SIGKILL to `dvc repro` ends it at once, and it passes nothing on to its stages; nor does
    torchrun pass a SIGKILL on. A process that neither has begun is left alone.
    """
    if not any(name in os.environ for name in LAUNCHED):
        yield
        return
    over, gone = threading.Event(), launcher_gone()

    def watch() -> None:
        while not over.wait(LOOK_EVERY):
            if gone():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    watcher = threading.Thread(target=watch, name="ending with its launcher", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def launcher_gone() -> Callable[[], bool]:
    """A test of whether the DVC above this process, or a shell or torchrun between the two, has ended since this call.

    DVC marks the environment of its stages, and of the shell it runs them in, but not its own: it is the first process
    upwards without the mark. Without DVC that is the parent: torchrun.
    """
    parent = dvc = os.getppid()
    while "DVC_STAGE" in environment_of(dvc) and (above := parent_of(dvc)) is not None:
        dvc = above
    start = pid_start_time(dvc)
    return lambda: os.getppid() != parent or not is_alive(dvc, start)
