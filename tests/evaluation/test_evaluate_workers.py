"""Worker processes of evaluate: when they are used, what cannot go to them, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import types
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note
from ssmlab.evaluation.attack_models import useful_workers
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.system import workers
from tests.evaluation.material import CPU, QUICK, material


def test_workers_are_used_if_they_pay() -> None:
    cores = len(os.sched_getaffinity(0))
    assert useful_workers(CPU, 1e6) == cores
    assert useful_workers(CPU, 0.1) == 1
    assert useful_workers(torch.device("cuda"), 1e6) == 1


def test_a_model_that_cannot_be_pickled_is_attacked_in_this_process() -> None:
    class Local(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x)

    model, x, y = material()
    events: list[Event] = []
    found = evaluate(Local(), x, y, QUICK, 0.02, workers=2, on_event=events.append)
    assert found == evaluate(model, x, y, QUICK, 0.02)
    warnings = [event.text for event in events if isinstance(event, Note) and event.warning]
    assert len(warnings) == 1
    assert "no worker processes" in warnings[0]


def test_a_model_that_workers_cannot_import_is_attacked_in_this_process(capfd: pytest.CaptureFixture[str]) -> None:
    module = types.ModuleType("ssmlab_only_here")
    exec("from torch import nn\nclass Here(nn.Flatten):\n    pass\n", module.__dict__)
    model, x, y = module.Here(), torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    sys.modules[module.__name__] = module
    events: list[Event] = []
    try:
        found = evaluate(model, x, y, ["fgsm", "pgd-2"], 0.02, batch_size=1, workers=2, on_event=events.append)
    finally:
        del sys.modules[module.__name__]
    assert found.measures["clean"].n == 4
    assert any(isinstance(event, Note) and "ssmlab_only_here" in event.text for event in events)
    assert capfd.readouterr() == ("", "")


ENDLESS = """
import sys, torch
from torch import nn
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.core.events import Progress
from ssmlab.params import PgdParams
from ssmlab.params.written_float import WrittenFloat

def on_event(event):
    if isinstance(event, Progress):
        print(event.done, flush=True)

if __name__ == "__main__":
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    x = torch.rand(400, 1, 4, 4)
    spec = {"random_start": True, "images": "all", "checkpoints": ("best",)}
    attacks = {str(steps): PgdParams(kind="pgd", alpha=WrittenFloat(0.1), steps=steps, **spec) for steps in (1, 10**8)}
    try:
        evaluate(model, x, model(x).argmax(1), attacks, 0.0, batch_size=400, workers=2, on_event=on_event)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def members(session: int) -> list[str]:
    """The processes of a session that are alive, by their command lines."""
    alive = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                alive.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return alive


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see which processes are alive")
@pytest.mark.parametrize(
    ("wait_for", "number", "code"),
    [
        pytest.param("0\n", signal.SIGINT, 130, id="Ctrl-C while workers start"),
        pytest.param("400\n", signal.SIGINT, 130, id="Ctrl-C at work", marks=pytest.mark.slow),
        pytest.param("400\n", signal.SIGKILL, -9, id="killed at work", marks=pytest.mark.slow),
    ],
)
def test_workers_end_with_their_parent(wait_for: str, number: signal.Signals, code: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ENDLESS)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        told = 0
        while told < 2:  # the second time, a second has passed in which nothing was finished
            told += process.stdout.readline() == wait_for
            assert process.poll() is None
        assert len(members(process.pid)) > 2
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: to parent and workers
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=60)  # ends only when every holder of stderr has
        patience = time.monotonic() + 30
        while members(process.pid) and time.monotonic() < patience:
            time.sleep(0.05)
        assert members(process.pid) == []
        assert process.returncode == code
        assert "Traceback" not in errors
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_dead_worker_is_a_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = material()

    def die(*args: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(workers, "collect", die)
    with pytest.raises(UserError, match=r"a worker process died .* try again with workers=1"):
        evaluate(model, x, y, QUICK, 0.02, workers=2)
