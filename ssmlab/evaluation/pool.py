"""Tasks spread over worker processes.

Workers are spawned, not forked: the parent has run torch operations, and a fork copies locks that its threads may hold.
A fork server would be safe too, but gains its speed only from a process-wide list of preloaded modules and outlives
the pool; spawning costs one import of torch a worker, once, all at the same time.

Workers never see Ctrl-C, which a terminal sends to them as well: they are born with SIGINT blocked. They end when the
pipe that the parent holds is closed, which the system does too if the parent is killed. So no worker outlives it. The
parent's way out of every failure is the same: close the pipe.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from ssmlab.errors import UserError
from ssmlab.evaluation.bench import Material, Outcome, Task
from ssmlab.evaluation.worker import NoPool, begin, reason, work


def run_in_processes(
    material: Material,
    tasks: Sequence[Task],
    workers: int,
    done: Callable[[Outcome], None],
    tick: Callable[[], None],
    every: float = 1.0,
) -> None:
    """Run `tasks`, started in the order given, on `workers` processes with one thread each.

    The material reaches the workers through a file, once each: through the pipe that starts a process it would hold
    the next one up until the first has imported torch.

    Args:
        done: called with each outcome, in the order in which they come.
        tick: called at least every `every` seconds.

    Raises:
        NoPool: the material cannot be pickled or unpickled, or the system gives no processes; nothing was done then.
        UserError: a worker died.
    """
    with tempfile.TemporaryDirectory(prefix="ssmlab-") as folder:
        file = Path(folder, "material.pickle")
        context = multiprocessing.get_context("spawn")
        try:
            file.write_bytes(pickle.dumps(material))
            stop, alive = context.Pipe(duplex=False)
            pool = ProcessPoolExecutor(workers, context, initializer=begin, initargs=(file, stop))
        except (pickle.PicklingError, AttributeError, TypeError, OSError, ImportError) as error:
            raise NoPool(reason(error)) from error
        try:
            with interrupts_held():
                waiting = {pool.submit(work, task) for task in tasks}
            collect(waiting, done, tick, every)
        except BrokenProcessPool:
            raise UserError(
                "a worker process died (out of memory, or a script that lacks `if __name__ == '__main__':`); "
                "try again with workers=1"
            ) from None
        finally:
            alive.close()
            pool.shutdown(wait=True, cancel_futures=True)
            stop.close()


def collect(
    waiting: set[Future[Outcome]], done: Callable[[Outcome], None], tick: Callable[[], None], every: float
) -> None:
    """Hand over outcomes as they come."""
    while waiting:
        finished, waiting = wait(waiting, timeout=every, return_when=FIRST_COMPLETED)
        for future in finished:
            done(future.result())
        tick()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """SIGINT waits inside, and processes that are started inside never see it: they inherit the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
