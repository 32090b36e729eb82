"""Ends a command: Ctrl-C, SIGTERM and SIGHUP become one KeyboardInterrupt; so does the end of its DVC or torchrun."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ssmlab.core.errors import UserError
from ssmlab.system.processes import environment_of, is_alive, parent_of, pid_start_time

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAME_STOP = 2.0  # seconds after a signal in which further signals count as the same stop
LOOK_EVERY = 0.5  # seconds
LAUNCHED = ("DVC_STAGE", "TORCHELASTIC_RUN_ID", "SSMLAB_GRID")  # set by DVC, torchrun and a grid for their processes


@contextmanager
def interruptible() -> Iterator[None]:
    """Within this block each of SIGNALS raises KeyboardInterrupt, unless it was ignored before (nohup).

    A stop often arrives as several signals (to the process, to its group, from an ending parent). Signals within two
    seconds of the first one are ignored, so that they do not interrupt the clean-up. Libraries that are interrupted,
    for example while they are imported, may raise another error instead; this counts as the same stop.
    """
    last = -math.inf

    def interrupt(*_: object) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > SAME_STOP:
            last = now
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in heeded:
        signal.signal(number, interrupt)
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if last > -math.inf:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number in heeded:
            signal.signal(number, before[number])


@contextmanager
def ending_with_launcher() -> Iterator[None]:
    """Within this block the process gets SIGTERM when the DVC or torchrun that started it has ended.

    SIGTERM, SIGHUP and SIGKILL end `dvc repro` at once, and it does not pass them on to its stages; torchrun does not
    pass on SIGKILL. Nothing is done in a process that neither of the two started.
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
    """A function that tells whether the DVC that started this process, or a shell or torchrun in between, has ended.

    DVC marks the environment of its stages and of the shell that runs them, but not its own. So DVC is the first
    ancestor without the mark. Without DVC, this ancestor is the parent, torchrun.
    """
    parent = dvc = os.getppid()
    while "DVC_STAGE" in environment_of(dvc) and (above := parent_of(dvc)) is not None:
        dvc = above
    start = pid_start_time(dvc)
    return lambda: os.getppid() != parent or not is_alive(dvc, start)
