"""Tasks spread over worker processes.

Workers are spawned, not forked: the parent has run torch operations, and a fork copies locks that its threads may hold.
A fork server would be safe too, but gains its speed only from a process-wide list of preloaded modules and outlives
the pool; spawning costs the imports of a worker, once, all at the same time.

Workers never see Ctrl-C, which a terminal sends to them as well: they are born with SIGINT blocked. They end when the
pipe that the parent holds is closed, which the system does too if the parent is killed. So no worker outlives it. The
parent's way out of every failure is the same: close the pipe.

This module is what a new process imports first, so it is light: a worker must watch its parent before it spends seconds
on importing torch, which its first task may do.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from ssmlab.core.errors import UserError

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Material = TypeVar("Material")
Worker = Callable[[Material], Callable[[Task], Outcome]]  # makes of the material what carries out tasks

TOLD: list[tuple[Worker[Any, Any, Any], Path]] = []  # what a worker is told at its start; it serves one pool only


class NoPool(Exception):
    """The work cannot be given to other processes; the message says why."""


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_processes(
    worker: Worker[Material, Task, Outcome],
    material: Material,
    tasks: Sequence[Task],
    workers: int,
    done: Callable[[Outcome], None],
    *,
    remedy: str,
    folder: Path | None = None,
    tick: Callable[[], None] = lambda: None,
    every: float = 1.0,
) -> None:
    """Run `tasks`, started in the order given, on `workers` processes.

    The material reaches the workers through a file, once each: through the pipe that starts a process it would hold
    the next one up until the first has imported what it needs.

    Args:
        worker: a function of a module that is light to import; called once in each process, by its first task.
        done: called with each outcome, in the order in which they come.
        remedy: what to do if a worker dies, for the error.
        folder: where the material's file lies meanwhile; None is the system's place for temporary files.
        tick: called at least every `every` seconds.

    Raises:
        NoPool: the material cannot be pickled or unpickled, or the system gives no processes; nothing was done then.
        UserError: a worker died, or a task raised it. Whatever else a task raises comes through as it is.
    """
    with tempfile.TemporaryDirectory(prefix="ssmlab-", dir=folder) as own:
        file = Path(own, "material.pickle")
        context = multiprocessing.get_context("spawn")
        try:
            file.write_bytes(pickle.dumps(material))
            stop, alive = context.Pipe(duplex=False)
            pool = ProcessPoolExecutor(workers, context, initializer=begin, initargs=(worker, file, stop))
        except (pickle.PicklingError, AttributeError, TypeError, OSError, ImportError) as error:
            raise NoPool(reason(error)) from error
        finished: SimpleQueue[Future[Outcome]] = SimpleQueue()
        try:
            with interrupts_held():
                for task in tasks:
                    pool.submit(work, task).add_done_callback(finished.put)
            collect(finished, len(tasks), done, tick, every)
        except BrokenProcessPool:
            raise UserError(
                "a worker process died (out of memory, or a script that lacks `if __name__ == '__main__':`); " + remedy
            ) from None
        finally:
            alive.close()
            pool.shutdown(wait=True, cancel_futures=True)
            stop.close()


def collect(
    finished: SimpleQueue[Future[Outcome]],
    count: int,
    done: Callable[[Outcome], None],
    tick: Callable[[], None],
    every: float,
) -> None:
    """Hand over `count` outcomes as they come.

    `concurrent.futures.wait` would not do: it locks all futures one after the other, and a KeyboardInterrupt in the
    middle of that leaves some locked for good. The pool's own thread then waits for them, and its end for the thread.
    """
    while count:
        try:
            future = finished.get(timeout=every)
        except Empty:
            pass
        else:
            count -= 1
            done(future.result())
        tick()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """SIGINT waits inside, and processes that are started inside never see it: they inherit the mask.

    A mask is one thread's. The system gives the signal to another, of BLAS say, if there is one; Python's handler then
    runs in the main thread all the same, so it waits as well.
    """
    came: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    handled = callable(handler) and threading.current_thread() is threading.main_thread()
    if handled:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if handled:
            signal.signal(signal.SIGINT, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def begin(worker: Worker[Any, Any, Any], material: Path, stop: Connection) -> None:
    """What a worker does first. `material` is a pickled file; `stop` ends when the parent wants the worker to."""
    threading.Thread(target=end_with_parent, args=(stop,), daemon=True).start()
    TOLD.append((worker, material))


def end_with_parent(stop: Connection) -> None:
    """End this process, whatever it is doing, when the other end of the pipe is closed."""
    stop.poll(None)
    os._exit(0)


def work(task: Any) -> Any:
    """Run a task in a worker."""
    return carrier()(task)


@functools.cache
def carrier() -> Callable[[Any], Any]:
    """What carries out this worker's tasks, made for the first of them.

    Raises:
        NoPool: the material cannot be unpickled, for which the code it needs may have any reason.
    """
    worker, file = TOLD[0]
    try:
        material = pickle.loads(file.read_bytes())
    except Exception as error:
        raise NoPool(reason(error)) from error
    return worker(material)


def reason(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
