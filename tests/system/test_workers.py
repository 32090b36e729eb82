"""The pool of worker processes: every outcome once, and an interrupt ends it whenever it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ssmlab.system.workers import interrupts_held, run_in_processes


def adder(material: int) -> Callable[[int], int]:
    return material.__add__


def test_every_task_has_one_outcome() -> None:
    found: list[int] = []
    run_in_processes(adder, 100, range(50), 2, found.append, remedy="")
    assert sorted(found) == list(range(100, 150))


def refuser(material: str) -> Callable[[int], int]:
    def refuse(task: int) -> int:
        raise LookupError(f"{material} {task}")

    return refuse


def test_an_exception_of_a_task_is_raised_again() -> None:
    with pytest.raises(LookupError, match="no 7"):
        run_in_processes(refuser, "no", [7], 2, print, remedy="")


# Raises KeyboardInterrupt at the n-th line that Python runs after the first outcome, in `collect` and all it calls.
INTERRUPTED = """
import sys
from ssmlab.system.workers import run_in_processes

def negater(material):
    return int.__neg__

def interrupted(moment):
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        lines += event == "line"
        if lines == moment:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    def done(outcome):
        if sys.gettrace() is None:
            sys.settrace(trace)

    try:
        run_in_processes(negater, None, range(300), 2, done, remedy="")
    except KeyboardInterrupt:
        print(moment, flush=True)
    finally:
        sys.settrace(None)

if __name__ == "__main__":
    for moment in map(int, sys.argv[1:]):
        interrupted(moment)
"""


def test_an_interrupt_at_any_line_ends_the_pool(tmp_path: Path) -> None:
    """Here it once left futures locked, which the pool's own thread waited for without end."""
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    moments = [*map(str, range(1, 41)), "100", "250"]
    out = subprocess.run([sys.executable, script, *moments], capture_output=True, text=True, timeout=120, check=False)
    assert (out.stdout.split(), out.stderr, out.returncode) == (moments, "", 0)


@pytest.mark.parametrize("taker", ["this thread", "another"])
def test_an_interrupt_waits_until_workers_are_started(taker: str) -> None:
    """Also if the system gives the signal to a thread that does not block it, as BLAS has."""
    over = threading.Event()
    other = threading.Thread(target=over.wait)
    if taker == "another":
        other.start()
    passed = False
    try:
        with pytest.raises(KeyboardInterrupt), interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)  # Python's handler would run here
            passed = True
    finally:
        over.set()
    assert passed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_ignored_interrupt_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_handlers_are_left_alone() -> None:
    """Only the main thread may set them."""
    failed: list[BaseException] = []

    def hold() -> None:
        try:
            with interrupts_held():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert not failed


def test_tick_is_called_while_no_task_is_finished() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    run_in_processes(sleeper, 0.3, [1], 1, lambda _: None, remedy="", tick=tick, every=0.02)
    assert ticks > 5


def sleeper(seconds: float) -> Callable[[int], None]:
    return lambda _: time.sleep(seconds)
