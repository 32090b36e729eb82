"""Running tasks in several worker processes.

Workers are spawned, not forked: the parent has run torch operations, and a fork copies locks that its threads may hold.
A fork server would be safe too, but it is fast only with a process-wide list of preloaded modules, and it outlives the
pool. With spawning each worker imports its modules once, all workers at the same time.

A terminal sends Ctrl-C to the workers too, but they start with SIGINT blocked and ignore it. A worker ends when the
pipe that the parent holds is closed. If the parent is killed, the system closes the pipe, so no worker outlives its
parent. After any failure the parent closes it.

joblib's loky was tried and is not used: with version 3.6, busy workers continue to compute when their parent is killed,
and Ctrl-C interrupts them in the middle of a task.

A new process imports this module first, so it must be light: a worker has to watch its parent before its first task
spends seconds on importing torch.
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

# In a worker: its function and the file of its material, as the only entry. A worker serves one pool only.
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

    Each worker reads the material from a file. Sent through the pipe that starts a process, it would make each process
    wait until the one before has imported its modules.

    Args:
        worker: a function of a module that is light to import; called once in each process, by its first task.
        done: called with each outcome as soon as it is there; tasks that it returns are run as well.
        remedy: what to do if a worker dies, for the error.
        folder: for the material's file; None uses the system's folder for temporary files.
        tick: called at least every `every` seconds.

    Raises:
        NoPool: the material cannot be pickled or unpickled, or no processes can be started; no task was run then.
        UserError: a worker died, or a task raised it. Any other error of a task is raised unchanged.
    """
    with worker_pool(worker, material, workers, folder) as pool:
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


@contextmanager
def worker_pool(
    worker: Worker[Material, Task, Outcome], material: Material, workers: int, folder: Path | None
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes read the material from a file in `folder`; they have ended when the block is left.

    Raises:
        NoPool: the material cannot be pickled, or no processes can be started.
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
        try:
            yield pool
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
    """Call `done` with `count` outcomes as they come, and with the outcomes of the tasks that `done` adds.

    `concurrent.futures.wait` locks all futures one after the other, and a KeyboardInterrupt in the middle of that
    leaves some locked for ever. The pool's own thread would wait for them, and the end of the pool for that thread.
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
    """Inside the block SIGINT is delayed, and processes that are started there never get it: they inherit the mask.

    A mask applies to one thread. If there are other threads (of BLAS, for example), the system gives the signal to one
    of them, and Python's handler still runs in the main thread. So the handler is delayed as well.
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
        NoPool: the material cannot be unpickled, for any reason.
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
