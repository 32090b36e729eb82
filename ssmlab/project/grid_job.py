"""One job of a grid: the stages of one run, in a process that submitit starts here or on a node of a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from submitit.helpers import Checkpointable, DelayedSubmission

LAST_WORDS = 120.0  # seconds that a stage has to write its state after SIGTERM


class RunStages(Checkpointable):
    """Runs stages of one run, one after the other. On SLURM it is queued again when its time limit is near."""

    def __init__(self, root: Path) -> None:
        """`root` is the project's folder, absolute."""
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(
        self, run: str, stages: Sequence[str], processors: Sequence[int] = (), gpus: Sequence[str] = ()
    ) -> str:
        """Run the stages in one process, one after the other, only on these processors and GPUs; none means any.

        Returns:
            an empty text, or one line that says why it failed.
        """
        if processors:
            psutil.Process().cpu_affinity(list(processors))  # child processes inherit it and use as many threads
        environment = dict(os.environ)
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        command = [sys.executable, "-m", "ssmlab", "run-stages", run, *stages]
        self.process = subprocess.Popen(command, cwd=self.root, env=environment, stderr=subprocess.PIPE)
        _, errors = self.process.communicate()
        if self.process.returncode != 0:
            code = self.process.returncode
            return last_line(errors) or f"`ssmlab run-stages {run} {' '.join(stages)}` ended with code {code}"
        return ""

    def checkpoint(self, *arguments: Any, **settings: Any) -> DelayedSubmission:
        """Called by submitit shortly before the time limit: stop the stage, which keeps its state, and queue again."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(LAST_WORDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return DelayedSubmission(RunStages(self.root), *arguments, **settings)


def last_line(errors: bytes) -> str:
    """The last line of a stage's errors, which is its message for the user."""
    lines = [line.strip() for line in errors.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""
