"""Tasks spread over worker processes.

Workers are spawned, not forked: the parent has run torch operations, and a fork copies locks that its threads may hold.
A fork server would be safe too, but it is only fast with a process-wide list of preloaded modules, and it outlives the
pool; spawning costs each worker its imports once, all at the same time.

Workers do not see Ctrl-C, which a terminal sends to them as well: they start with SIGINT blocked. They end when the
pipe that the parent holds is closed, which the system does too if the parent is killed, so no worker outlives it. After
any failure the parent does the same: it closes the pipe.

joblib's loky was tried and is not used. Of version 3.6, workers that are busy compute on when their parent is killed,
and Ctrl-C reaches them in the middle of a task.

This module is the first that a new process imports, so it is light: a worker must watch its parent before it spends
seconds on importing torch, which its first task may do.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import pickle
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
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
Worker = Callable[[Material], Callable[[Task], Outcome]]  # from the material to the function that runs a task

# In a worker: the one entry is its function and the file of its material. A worker serves one pool only.
ASSIGNED: list[tuple[Worker[Any, Any, Any], Path]] = []


class NoPool(Exception):
    """Other processes cannot do the work; the message says why."""


def run_in_processes(
    worker: Worker[Material, Task, Outcome],
    material: Material,
    tasks: Iterable[Task],
    workers: int,
    done: Callable[[Outcome], Iterable[Task] | None],
    *,
    remedy: str,
    folder: Path | None = None,
    tick: Callable[[], None] = lambda: None,
    every: float = 1.0,
) -> None:
    """Run `tasks`, started in the order given, on `workers` processes.

    Each worker reads the material from a file. If it came through the pipe that starts a process, each process could
    only start when the one before has imported what it needs.

    Args:
        worker: a function of a module that is light to import; called once in each process, by its first task.
        done: called with each outcome, in the order in which they come; the tasks that it returns are run as well.
        remedy: what to do if a worker dies, for the error.
        folder: where the material's file is meanwhile; None is the system's place for temporary files.
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
            pool = ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=(worker, file, stop))
        except (pickle.PicklingError, AttributeError, TypeError, OSError, ImportError) as error:
            raise NoPool(one_line(error)) from error
        finished: SimpleQueue[Future[Outcome]] = SimpleQueue()

        def submit(tasks: Iterable[Task]) -> int:
            count = 0
            with interrupts_held():  # a process may be started for any of the tasks
                for task in tasks:
                    pool.submit(run_task, task).add_done_callback(finished.put)
                    count += 1
            return count

        try:
            collect(finished, submit(tasks), lambda outcome: submit(done(outcome) or ()), tick, every)
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
    done: Callable[[Outcome], int],
    tick: Callable[[], None],
    every: float,
) -> None:
    """Call `done` with `count` outcomes as they come, and with as many more as it says that there will be.

    `concurrent.futures.wait` locks all futures one after the other, and a KeyboardInterrupt in the middle of that
    leaves some locked for ever. The pool's own thread then waits for them, and the end of the pool for that thread.
    """
    while count:
        try:
            future = finished.get(timeout=every)
        except Empty:
            pass
        else:
            count += done(future.result()) - 1
        tick()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Inside the block SIGINT waits, and processes that are started there never see it: they inherit the mask.

    A mask holds for one thread. If there is another (of BLAS, say), the system gives the signal to that one, and
    Python's handler still runs in the main thread; so the handler waits as well.
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


def start_worker(worker: Worker[Any, Any, Any], material: Path, stop: Connection) -> None:
    """The first call in a worker. `material` is a pickled file; `stop` is closed when the worker has to end."""
    threading.Thread(target=end_with_parent, args=(stop,), daemon=True).start()
    ASSIGNED.append((worker, material))


def end_with_parent(stop: Connection) -> None:
    """End this process, whatever it is doing, when the other end of the pipe is closed."""
    stop.poll(None)
    os._exit(0)


def run_task(task: Any) -> Any:
    """Run a task; called in a worker."""
    return task_runner()(task)


@functools.cache
def task_runner() -> Callable[[Any], Any]:
    """The function that runs this worker's tasks, made when the first one comes.

    Raises:
        NoPool: the material cannot be unpickled; the code that it needs may raise anything.
    """
    worker, file = ASSIGNED[0]
    try:
        material = pickle.loads(file.read_bytes())  # nosec B301 # the process that started this one has just written it
    except Exception as error:
        raise NoPool(one_line(error)) from error
    return worker(material)


def one_line(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
