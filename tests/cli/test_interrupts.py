"""Several signals are one stop, and a stage whose DVC process has ended ends itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssmlab.cli import interrupts
from ssmlab.cli.interrupts import interruptible
from ssmlab.core.errors import UserError

# What DVC does: it marks its stage, which a shell may run for it (`; true` keeps the shell in between), and waits.
PARENT = """
import os, subprocess, sys
stage, between = sys.argv[1:]
command = f"'{sys.executable}' -c '{stage}'" + ("; true" if between == "shell" else "")
subprocess.Popen(["/bin/sh", "-c", command], env=os.environ | {"DVC_STAGE": "train@ads"}).wait()
"""
TORCHRUN = """
import os, subprocess, sys
environment = os.environ | {"TORCHELASTIC_RUN_ID": "none"}
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=environment, start_new_session=True).wait()
"""
STAGE = """
import sys, time
from ssmlab.cli.interrupts import ending_with_launcher, interruptible
try:
    with interruptible(), ending_with_launcher():
        print("at work", flush=True)
        time.sleep(100)
except KeyboardInterrupt:
    print("put in order", flush=True)
"""


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_every_signal_is_an_interrupt_and_repeats_are_the_same(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [signal.getsignal(each) for each in interrupts.SIGNALS]
    with interruptible():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        for each in interrupts.SIGNALS:
            signal.raise_signal(each)  # part of the same stop
        monkeypatch.setattr(interrupts, "SAME_STOP", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)  # another, later
    assert [signal.getsignal(each) for each in interrupts.SIGNALS] == before


def test_an_error_that_an_interrupted_library_raises_is_the_interrupt() -> None:
    """pydantic and numpy turn a KeyboardInterrupt during their import into errors of their own."""

    def interrupted(error: Exception) -> None:
        with interruptible():
            try:
                signal.raise_signal(signal.SIGTERM)
            except KeyboardInterrupt:
                raise error from None

    with pytest.raises(KeyboardInterrupt):
        interrupted(RecursionError("a module that is half imported"))
    with pytest.raises(UserError):  # says itself what the user must know
        interrupted(UserError("the outputs are kept aside"))
    with pytest.raises(RuntimeError), interruptible():
        raise RuntimeError("a bug, without any signal")


def test_an_ignored_signal_stays_ignored() -> None:
    """As nohup wants it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("between", ["nothing", "shell"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_when_its_dvc_process_ends(between: str, number: signal.Signals) -> None:
    dvc = subprocess.Popen([sys.executable, "-c", PARENT, STAGE, between], stdout=subprocess.PIPE, text=True)
    assert dvc.stdout is not None
    assert dvc.stdout.readline() == "at work\n"
    dvc.send_signal(number)
    assert dvc.stdout.read() == "put in order\n"  # the stage's: it holds the pipe, and its end is the end of the stage
    dvc.wait()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_process_ends_when_its_torchrun_ends() -> None:
    launcher = subprocess.Popen([sys.executable, "-c", TORCHRUN, STAGE], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    assert launcher.stdout.readline() == "at work\n"
    launcher.kill()
    assert launcher.stdout.read() == "put in order\n"
    launcher.wait()


def test_without_dvc_a_stage_continues_after_its_parent_has_ended(tmp_path: Path) -> None:
    """`nohup ssmlab train ads &`, and the terminal is closed."""
    parent = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); sys.stdin.read()"
    stage = STAGE.replace("100", "1.5")
    environment = {name: value for name, value in os.environ.items() if name not in interrupts.LAUNCHED}
    process = subprocess.Popen(
        [sys.executable, "-c", parent, stage + "\nprint('of itself')"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    process.kill()
    assert process.stdout.read() == "of itself\n"
    process.wait()
