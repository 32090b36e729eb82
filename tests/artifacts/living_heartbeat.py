"""The heartbeat of a training that runs: it names the process of the test, which is alive."""

from __future__ import annotations

import os
import socket
from typing import Any

from ssmlab.artifacts.heartbeat import Heartbeat
from ssmlab.system.processes import pid_start_time


def living_heartbeat(**changes: Any) -> Heartbeat:
    """The heartbeat of the run `ads` of the study `smoke`; `changes` replace fields."""
    fields = {
        "stage": "train",
        "study": "smoke",
        "run": "ads",
        "pid": os.getpid(),
        "pid_start": pid_start_time(os.getpid()),
        "host": socket.gethostname(),
        "device": "cpu",
    }
    return Heartbeat(**(fields | changes))
