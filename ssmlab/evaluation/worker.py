"""What runs inside a worker process.

This module is what a new process imports first, so it is light: the worker must watch its parent before it spends
seconds on importing torch, which its first task does.
"""

from __future__ import annotations

import functools
import os
import pickle
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssmlab.evaluation.bench import Bench, Outcome, Task

MATERIAL: list[Path] = []  # the one thing a worker is told at its start; a process serves one pool only


class NoPool(Exception):
    """The work cannot be given to other processes; the message says why."""


def begin(material: Path, stop: Connection) -> None:
    """What a worker does first. `material` is a pickled `Material`; `stop` ends when the parent wants the worker to."""
    threading.Thread(target=end_with_parent, args=(stop,), daemon=True).start()
    MATERIAL.append(material)


def end_with_parent(stop: Connection) -> None:
    """End this process, whatever it is doing, when the other end of the pipe is closed."""
    stop.poll(None)
    os._exit(0)


def work(task: Task) -> Outcome:
    """Run a task on the worker's bench."""
    return bench().run(task)


@functools.cache
def bench() -> Bench:
    """The worker's bench, made for its first task, with one thread.

    Raises:
        NoPool: the material cannot be unpickled, for which the models' own code may have any reason.
    """
    import torch

    from ssmlab.evaluation.bench import Bench

    torch.set_num_threads(1)
    try:
        material = pickle.loads(MATERIAL[0].read_bytes())
    except Exception as error:
        raise NoPool(reason(error)) from error
    return Bench(material)


def reason(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
